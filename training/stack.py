"""Boosters stacked or averaged into one: the trees of each LightGBM text model, one after the other.

Family trees start from what the shared trees say (`init_score`), so the sum of both is the model. As one text it is
served, explained and checked like any other booster: contributions add up exactly, since TreeSHAP is additive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TREE = re.compile(r"^Tree=\d+\n", re.MULTILINE)
_END = "end of trees"
_VALUES = re.compile(r"^(leaf_value|internal_value)=(.*)$", re.MULTILINE)
_SIZES = re.compile(r"^tree_sizes=.*$", re.MULTILINE)


def stacked(texts: Sequence[str]) -> str | None:
    """One text model whose raw score is the sum of the models'; None without any tree.

    Args:
        texts: LightGBM text models of the same features, in the order in which they were grown.

    Raises:
        ValueError: the models do not have the same features.
    """
    parts = [text for text in texts if _trees(text)]
    if not parts:
        return None
    if len({_features(text) for text in parts}) > 1:
        raise ValueError("boosters of different features can't be stacked")
    trees = [
        f"Tree={number}\n{tree}" for number, tree in enumerate(t for text in parts for t in _trees(text))
    ]
    sizes = " ".join(str(len(tree.encode("utf-8"))) for tree in trees)
    head = _SIZES.sub(f"tree_sizes={sizes}", parts[0][: _TREE.search(parts[0]).start()])  # type: ignore[union-attr]
    tail = parts[0][parts[0].index(_END) :]
    return head + "".join(trees) + tail


def averaged(texts: Sequence[str], among: int) -> str | None:
    """One text model whose raw score is the mean of `among` models; None without any tree.

    Args:
        texts: LightGBM text models of the same features, of those that have trees.
        among: number of models, those without trees included.
    """

    def divided(line: re.Match[str]) -> str:
        return f"{line[1]}={' '.join(repr(float(x) / among) for x in line[2].split())}"

    whole = stacked(texts)
    return whole if whole is None else stacked([_VALUES.sub(divided, whole)])


def _trees(text: str) -> list[str]:
    """Body of every tree, without its number."""
    return _TREE.split(text[: text.index(_END)])[1:]


def _features(text: str) -> str:
    found = re.search(r"^feature_names=(.*)$", text, flags=re.MULTILINE)
    return "" if found is None else found.group(1)
