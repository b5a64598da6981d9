"""A hash tree is RFC 6962's over Keccak-256, and shows an item at its own place only."""

import pytest

from eigenkms.crypto.hashing import keccak256
from eigenkms.wire.hash_tree import path_length, root_from_path, tree_path, tree_root

SIZES = (*range(1, 10), 20)


def _items(size: int) -> list[bytes]:
    return [b"item %d" % i for i in range(size)]


def _leaf(item: bytes) -> bytes:
    return keccak256(b"\x00" + item)


def _node(left: bytes, right: bytes) -> bytes:
    return keccak256(b"\x01" + left + right)


def test_tree_has_the_shape_of_rfc_6962() -> None:
    """Seven leaves, as in the example of section 2.1.3: four to the left, two and one to the right."""
    a, b, c, d, e, f, g = (_leaf(item) for item in _items(7))
    left, right = _node(_node(a, b), _node(c, d)), _node(_node(e, f), g)
    assert tree_root(_items(7)) == _node(left, right)
    assert tree_path(_items(7), 0) == (b, _node(c, d), right)
    assert tree_path(_items(7), 3) == (c, _node(a, b), right)
    assert tree_path(_items(7), 4) == (f, g, left)
    assert tree_path(_items(7), 6) == (_node(e, f), left)
    assert tree_root(_items(1)) == _leaf(b"item 0")
    assert tree_path(_items(1), 0) == ()


@pytest.mark.parametrize("size", SIZES)
def test_path_leads_from_every_item_to_the_root(size: int) -> None:
    """Its length is the announced one; any other item, place or length leads elsewhere or nowhere."""
    items = _items(size)
    root = tree_root(items)
    for i, item in enumerate(items):
        path = tree_path(items, i)
        assert len(path) == path_length(i, size)
        assert root_from_path(item, i, size, path) == root
        assert root_from_path(b"other", i, size, path) != root
        for other in set(range(size)) - {i}:
            if path_length(other, size) == len(path):
                assert root_from_path(item, other, size, path) != root
        for wrong in ((*path, bytes(32)), path[1:] if path else (b"",)):
            with pytest.raises(ValueError, match="does not fit position"):
                root_from_path(item, i, size, wrong)


def test_inner_node_is_no_item() -> None:
    """The two hashes below a node, taken for an item of a smaller tree, have another root (second preimage)."""
    items = _items(4)
    inner = [_leaf(items[0]) + _leaf(items[1]), _leaf(items[2]) + _leaf(items[3])]
    assert tree_root(inner) != tree_root(items)


def test_hash_of_another_size_is_no_sibling() -> None:
    """A boundary between siblings cannot be moved."""
    path = tree_path(_items(4), 0)
    moved = (path[0] + path[1][:1], path[1][1:])
    with pytest.raises(ValueError, match="does not fit position 0 of 4"):
        root_from_path(b"item 0", 0, 4, moved)


@pytest.mark.parametrize("position", [-1, 4, 5])
def test_position_outside_the_list_is_refused(position: int) -> None:
    """By all functions, and so is a tree of nothing."""
    refused = pytest.raises(ValueError, match=f"position {position} is not among the 4")
    with refused:
        tree_path(_items(4), position)
    with refused:
        path_length(position, 4)
    with refused:
        root_from_path(b"item 0", position, 4, ())
    with pytest.raises(ValueError, match="no items"):
        tree_root([])
