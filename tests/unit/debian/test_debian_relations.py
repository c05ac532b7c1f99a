import pytest

from builder.debian.relations import Relation, parse_relations


def test_groups_and_alternatives_keep_their_order():
    field = "libc6 (>= 2.34), media-types | mime-support,  python3:any (<< 3.12)"
    assert parse_relations(field) == (
        (Relation("libc6", ">=", "2.34"),),
        (Relation("media-types"), Relation("mime-support")),
        (Relation("python3", "<<", "3.12"),),
    )


def test_a_folded_field_and_a_trailing_comma_are_read():
    assert parse_relations("a,\n b (= 1:2-3),") == ((Relation("a"),), (Relation("b", "=", "1:2-3"),))


def test_an_empty_field_has_no_groups():
    assert parse_relations("") == ()


def test_the_old_operators_mean_or_equal():
    assert parse_relations("a (< 2), b (> 1)") == ((Relation("a", "<=", "2"),), (Relation("b", ">=", "1"),))


def test_what_is_no_relation_is_refused():
    with pytest.raises(ValueError, match="not a package relation"):
        parse_relations("a (2.0)")


def test_an_unversioned_provides_does_not_meet_a_versioned_relation():
    assert Relation("mail-transport-agent").admits(None)
    assert not Relation("python3.11-distutils", ">=", "3.11").admits(None)
