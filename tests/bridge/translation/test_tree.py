"""RFC 6962: its reference roots and proofs, and every small tree against the recursive definition."""

from __future__ import annotations

from hashlib import sha256

import pytest

from bridge.translation import tree

# The inputs and results of the reference implementation (certificate-transparency, merkle_tree_test.cc).
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
          "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCIES = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def definition(leaves: list[bytes]) -> bytes:
    """MTH as the RFC writes it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + definition(leaves[:half]) + definition(leaves[half:])).digest()


def subtree_of(hashes: list[bytes]) -> tree.Subtree:
    return lambda start, end: tree.root(hashes[start:end])


def hashes(count: int) -> list[bytes]:
    return [tree.leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_reference_roots(size: int) -> None:
    assert tree.root([tree.leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size - 1]


def test_the_empty_tree() -> None:
    assert tree.root([]) == tree.EMPTY == definition([]) == tree.Growing().root()
    assert tree.EMPTY.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_the_reference_paths(index: int, size: int) -> None:
    path = tree.inclusion(index, size, subtree_of([tree.leaf_hash(leaf) for leaf in LEAVES]))
    assert tuple(hash.hex() for hash in path) == PATHS[index, size]


@pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
def test_the_reference_consistencies(old: int, new: int) -> None:
    path = tree.consistency(old, new, subtree_of([tree.leaf_hash(leaf) for leaf in LEAVES]))
    assert tuple(hash.hex() for hash in path) == CONSISTENCIES[old, new]


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257, 300])
def test_a_root_is_the_recursive_definition_however_it_is_computed(size: int) -> None:
    growing = tree.Growing()
    for hash in hashes(size):
        growing.add(hash)
    expected = definition([str(number).encode() for number in range(size)])
    assert tree.root(hashes(size)) == growing.root() == growing.copy().root() == expected


def test_a_growing_tree_takes_whole_subtrees() -> None:
    leaves = hashes(23)
    growing = tree.Growing()
    growing.add(tree.root(leaves[:16]), 4)
    growing.add(tree.root(leaves[16:20]), 2)
    for hash in leaves[20:]:
        growing.add(hash)
    assert growing.root() == tree.root(leaves)


def test_every_inclusion_of_small_trees_verifies_and_nothing_else_does() -> None:
    leaves = hashes(66)
    subtree = subtree_of(leaves)
    for size in range(1, 67):
        root = tree.root(leaves[:size])
        for index in range(size):
            path = tree.inclusion(index, size, subtree)
            assert tree.included(index, size, leaves[index], path, root)
            assert not tree.included(index, size, leaves[index - 1], path, root) or size == 1
            assert not tree.included(index, size, leaves[index], [*path, root], root)
            assert not tree.included(index, size, leaves[index], path[:-1], root) or not path
            if path:
                assert not tree.included(index, size, leaves[index], [root, *path[1:]], root)


def test_every_consistency_of_small_trees_verifies_and_nothing_else_does() -> None:
    leaves = hashes(66)
    subtree = subtree_of(leaves)
    roots = [tree.root(leaves[:size]) for size in range(67)]
    for new in range(67):
        for old in range(new + 1):
            path = tree.consistency(old, new, subtree)
            assert tree.consistent(old, new, roots[old], roots[new], path)
            assert not tree.consistent(old, new, roots[old], roots[new], [*path, roots[new]])
            if 0 < old < new:
                assert not tree.consistent(old, new, roots[old - 1], roots[new], path)
                assert not tree.consistent(old, new, roots[old], roots[new - 1], path)
                assert not tree.consistent(old, new, roots[old], roots[new], path[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_a_leaf_outside_of_the_tree_has_no_path(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        tree.inclusion(index, size, subtree_of([]))
    assert not tree.included(index, size, tree.EMPTY, [], tree.EMPTY)


def test_a_shrunk_tree_has_no_consistency() -> None:
    with pytest.raises(ValueError, match="does not continue"):
        tree.consistency(6, 5, subtree_of([]))
    assert not tree.consistent(6, 5, tree.EMPTY, tree.EMPTY, [tree.EMPTY])
