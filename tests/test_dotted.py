from spotify_engine.dotted import flatten


def test_flatten_joins_keys_by_dots():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {
        "a.b": 1,
        "a.c.d": None,
        "e": [1],
    }
