"""Recognising files that are not CSV in UTF-8, by their first bytes, and how to convert them."""

from __future__ import annotations

import re

_UTF16, _UTF32 = "UTF-16", "UTF-32"
_MARKS = (
    (b"\xff\xfe\x00\x00", _UTF32),
    (b"\x00\x00\xfe\xff", _UTF32),
    (b"\xff\xfe", _UTF16),
    (b"\xfe\xff", _UTF16),
)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"]\x00\x00", "LZMA"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
)
_EXCEL = "an Excel workbook; save it as 'CSV UTF-8' and give that file"
_TABLES = (
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow (Feather) file"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"FEA1", "a Feather file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"%PDF-", "a PDF"),
)
_TEXTS = (
    (
        re.compile(rb"<!doctype html|<html|<table", re.IGNORECASE),
        "an HTML page, not the file itself",
    ),
    (re.compile(rb"<\?xml|<[a-z]+[ >]", re.IGNORECASE), "XML"),
    (re.compile(rb'[{\[]\s*(?:["{}\[\]\d-]|\Z)'), "JSON"),
    (re.compile(rb"\{\\rtf"), "an RTF document"),
)
_LFS = b"version https://git-lfs.github.com/spec/"
# A byte above 127 between others, as accented letters of Western languages are.
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_ABOVE = re.compile(rb"[\x80-\xff]")


def other_format(head: bytes) -> str | None:
    """The kind of file and a remedy, such as "is compressed (gzip); ..."; None if it is text."""
    said = _by_first_bytes(head)
    if said is not None:
        return said
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_LFS):
        return "is a pointer of Git LFS; get the file itself with: git lfs pull"
    for pattern, name in _TEXTS:
        if pattern.match(text):
            return f"is {name}; give the CSV file"
    return _binary(head)


def _by_first_bytes(head: bytes) -> str | None:
    """The kind of a file that begins as files of its format always do."""
    for magic, encoding in _MARKS:
        if head.startswith(magic):
            return f"is in {encoding}; save it as UTF-8"
    for magic, name in _COMPRESSED:
        if head.startswith(magic):
            if b"xl/" in head or b"[Content_Types].xml" in head[:4096]:
                return f"is {_EXCEL}"
            return f"is compressed ({name}); unpack it and give the CSV file in it"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return f"is {_EXCEL}"
    for magic, name in _TABLES:
        if head.startswith(magic):
            return f"is {name}; write it as a CSV file in UTF-8 and give that"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and give the CSV file in it"
    return None


def _binary(head: bytes) -> str | None:
    """Not text at all, or UTF-16 or UTF-32 without a byte order mark, by where the zeros are."""
    header = head[:64]  # its characters are ASCII, whatever the rows have
    zeros = [header[place::4].count(0) * 8 > len(header) for place in range(4)]
    if sum(zeros) == 3:
        return f"is in {_UTF32}; save it as UTF-8"
    if zeros in ([True, False] * 2, [False, True] * 2):
        return f"is in {_UTF16}; save it as UTF-8"
    sample = head[:4096]
    if len(_CONTROL.findall(sample)) * 20 > len(sample):
        return "holds binary data; give a CSV file"
    return None


def other_encoding(data: bytes) -> str:
    """A guess at the encoding of text that isn't UTF-8, and a remedy."""
    if len(_ALONE.findall(data)) * 2 > len(_ABOVE.findall(data)):
        return (
            "it looks like Latin-1/Windows-1252: save it as UTF-8, for example with "
            "iconv -f WINDOWS-1252 -t UTF-8"
        )
    return "it is in another encoding: save it as UTF-8"
