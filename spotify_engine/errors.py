"""The one exception that a person is meant to read."""


class InputError(ValueError):
    """Something the user gave (a file, a flag, a configuration key) can't be used.

    The message is one line that names the file, line or field, says what is wrong with it and what
    to do. Jobs print it without a traceback and exit with code 2.
    """
