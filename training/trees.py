"""Sum of the trees of many small boosters for a few rows, as quickly as numpy allows.

LightGBM needs about 0.1 ms per call whatever the number of rows. An interval needs one call per bootstrap
refit, which a single patient's answer can't afford. Here all trees of all refits are walked at once. The
order of additions is LightGBM's, so the result is the same to the last bit (tested).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crsrisk.errors import ModelError

_FIELD = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
_ZERO = 1e-35  # LightGBM's kZeroThreshold
_MISSING_NONE, _MISSING_ZERO = 0, 1


@dataclass(frozen=True, eq=False)
class FlatTrees:
    """Trees of several boosters as flat arrays, padded to one number of splits and leaves per tree.

    feature, threshold, left, right: one entry per split, tree after tree; a child below 0 is leaf -child - 1.
    unknown_left: where a missing value goes. zero_left: 1 left, 0 right where zero counts as missing, else -1.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    unknown_left: NDArray[np.bool_]
    zero_left: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.float64]
    depth: int
    trees: int
    boosters: int

    def margins(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw score of every booster; values: (n_rows, n_features), returns (n_boosters, n_rows)."""
        n_rows = len(values)
        splits, leaves = self.feature.size // self.trees, self.leaf.size // self.trees
        flat, row = values.ravel(), np.arange(n_rows)[:, None] * values.shape[1]
        first = np.arange(self.trees) * splits
        node = np.zeros((n_rows, self.trees), dtype=np.int64)
        zeros = (self.zero_left >= 0).any()
        for level in range(self.depth):
            at = first + (np.maximum(node, 0) if level else 0)
            value = flat.take(row + self.feature.take(at))
            goes_left = np.where(
                np.isnan(value), self.unknown_left.take(at), value <= self.threshold.take(at)
            )
            if zeros:
                at_zero = self.zero_left.take(at)
                goes_left = np.where((at_zero >= 0) & (np.abs(value) <= _ZERO), at_zero == 1, goes_left)
            step = np.where(goes_left, self.left.take(at), self.right.take(at))
            node = np.where(node < 0, node, step)
        leaf = self.leaf.take(np.arange(self.trees) * leaves - node - 1).reshape(n_rows, self.boosters, -1)
        sums: NDArray[np.float64] = np.cumsum(leaf, axis=2)[:, :, -1].T
        return sums


def flat_trees(texts: Sequence[str]) -> FlatTrees:
    """The trees of LightGBM text models side by side.

    Raises:
        ModelError: a text holds categorical splits or linear trees, which crsrisk never writes.
    """
    forests = [_trees(text) for text in texts]
    per_booster = max(1, *(len(forest) for forest in forests), 1)
    n_leaves = max([2, *(len(t["leaf_value"]) for forest in forests for t in forest)])
    n_trees = len(forests) * per_booster
    shape = (n_trees, n_leaves - 1)
    feature, threshold = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    unknown_left, zero_left = np.zeros(shape, dtype=bool), np.full(shape, -1, dtype=np.int64)
    left, right = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    leaf = np.zeros((n_trees, n_leaves))
    depth = 1
    for k, forest in enumerate(forests):
        for t, tree in enumerate(forest, start=k * per_booster):
            leaf[t, : len(tree["leaf_value"])] = tree["leaf_value"]
            n = len(tree["split_feature"])
            decision = np.asarray(tree["decision_type"], dtype=np.int64)
            if (decision & 1).any():
                raise ModelError("a tree with categorical splits; crsrisk writes numerical splits only")
            missing, default_left = (decision >> 2) & 3, (decision & 2) > 0
            feature[t, :n], threshold[t, :n] = tree["split_feature"], tree["threshold"]
            # without a type for missing values LightGBM reads them as 0
            unknown_left[t, :n] = np.where(missing == _MISSING_NONE, threshold[t, :n] >= 0.0, default_left)
            zero_left[t, :n] = np.where(missing == _MISSING_ZERO, default_left, -1)
            left[t, :n], right[t, :n] = tree["left_child"], tree["right_child"]
            depth = max(depth, _depth(left[t], right[t]) if n else 1)
    return FlatTrees(
        feature=feature.ravel(),
        threshold=threshold.ravel(),
        unknown_left=unknown_left.ravel(),
        zero_left=zero_left.ravel(),
        left=left.ravel(),
        right=right.ravel(),
        leaf=leaf.ravel(),
        depth=depth,
        trees=n_trees,
        boosters=len(forests),
    )


def _depth(left: NDArray[np.int64], right: NDArray[np.int64], node: int = 0) -> int:
    """Splits on the longest way from a node to a leaf."""
    if node < 0:
        return 0
    return 1 + max(_depth(left, right, int(left[node])), _depth(left, right, int(right[node])))


def _trees(text: str) -> list[dict[str, list[float]]]:
    """Splits and leaves of each tree of one text model; a tree without a split has one leaf."""
    blocks = re.split(r"^Tree=\d+$", text.split("end of trees", maxsplit=1)[0], flags=re.MULTILINE)[1:]
    found = []
    for block in blocks:
        fields = dict(_FIELD.findall(block))
        if fields.get("is_linear", "0") != "0":
            raise ModelError("a linear tree; crsrisk writes constant leaves only")
        names = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value")
        found.append({name: [float(x) for x in fields.get(name, "").split()] for name in names})
    return found
