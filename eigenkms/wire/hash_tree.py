"""A hash tree: one root for a list, and a path that shows one item's place in it.

The shape is that of RFC 6962, section 2.1, over Keccak-256: a leaf is ``keccak256(0x00 ‖ item)``, an inner node
``keccak256(0x01 ‖ left ‖ right)``. A list of n > 1 items is cut at the largest power of two below n.

Leaves and inner nodes have different first bytes, so no inner node passes for an item. Position and size fix the length of
a path and the side of each sibling. So one item at one place has one path, and a verifier reads no shape from the prover.
"""

from collections.abc import Sequence

from eigenkms.crypto.hashing import keccak256

HASH_SIZE = 32

_LEAF, _NODE = b"\x00", b"\x01"


def tree_root(items: Sequence[bytes]) -> bytes:
    """Return the root over ``items``, 32 bytes.

    ValueError for no items. CPU: two hashes for each item.
    """
    if not items:
        raise ValueError("a hash tree has no items")
    return _root([keccak256(_LEAF, item) for item in items])


def tree_path(items: Sequence[bytes], position: int) -> tuple[bytes, ...]:
    """Return the siblings of the item at ``position``, from the leaf upwards.

    ValueError for a position outside the list. CPU: two hashes for each item.
    """
    _check_position(position, len(items))
    return _path([keccak256(_LEAF, item) for item in items], position)


def path_length(position: int, size: int) -> int:
    """Return the number of siblings in the path of ``position`` among ``size`` items.

    ValueError for a position outside the list.
    """
    _check_position(position, size)
    return len(_sides(position, size))


def root_from_path(item: bytes, position: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of the tree in which ``item`` has this place and this path.

    ValueError for a position outside the list, and for a path that is not ``path_length(position, size)`` hashes.
    """
    if len(path) != path_length(position, size) or any(len(sibling) != HASH_SIZE for sibling in path):
        raise ValueError(f"a path of {len(path)} hashes does not fit position {position} of {size}")
    node = keccak256(_LEAF, item)
    for sibling, is_left in zip(path, _sides(position, size), strict=True):
        node = keccak256(_NODE, sibling, node) if is_left else keccak256(_NODE, node, sibling)
    return node


def _check_position(position: int, size: int) -> None:
    if not 0 <= position < size:
        raise ValueError(f"position {position} is not among the {size} items of a hash tree")


def _cut(size: int) -> int:
    """Return the largest power of two below ``size``, which is 2 at least."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    cut = _cut(len(leaves))
    return keccak256(_NODE, _root(leaves[:cut]), _root(leaves[cut:]))


def _path(leaves: Sequence[bytes], position: int) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    cut = _cut(len(leaves))
    left, right = leaves[:cut], leaves[cut:]
    if position < cut:
        return (*_path(left, position), _root(right))
    return (*_path(right, position - cut), _root(left))


def _sides(position: int, size: int) -> list[bool]:
    """Return whether each sibling is the left one, from the leaf upwards."""
    sides = []
    while size > 1:
        cut = _cut(size)
        sides.append(position >= cut)
        position, size = (position - cut, size - cut) if position >= cut else (position, cut)
    return sides[::-1]
