"""Words in the cells of spreadsheets whose meaning is the same everywhere: sexes, statuses, comparators, products."""

from collections.abc import Mapping
from functools import cache

from crsrisk.readers.codes import OWN, coding, target_meaning
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.spreadsheet_map import plain, word
from crsrisk.therapies import therapies

SEXES: Mapping[str, str] = {
    "female": "female", "f": "female", "女": "female", "女性": "female",
    "male": "male", "m": "male", "男": "male", "男性": "male",
    "other": "other", "その他": "other", "unknown": "unknown", "不明": "unknown",
}  # fmt: skip
STATUSES: Mapping[str, str] = {
    **dict.fromkeys(("final", "corrected", "amended", "completed", "確定", "最終"), "final"),
    **dict.fromkeys(("preliminary", "中間", "速報"), "preliminary"),
    **dict.fromkeys(
        (
            "withdrawn",
            "cancelled",
            "canceled",
            "deleted",
            "entered-in-error",
            "not-done",
            "取消",
            "中止",
            "削除",
        ),
        "withdrawn",
    ),
}
COMPARATORS: Mapping[str, str] = {
    "≦": "<=", "≤": "<=", "≧": ">=", "≥": ">=", "未満": "<", "以下": "<=", "以上": ">=", "超": ">",
}  # fmt: skip


def comparator(text: str) -> str:
    """A comparator in one of the spellings that are accepted; another word stays and is refused later."""
    return COMPARATORS.get(text.strip(), plain(text))


@cache
def codes_of(cell: str, system: str, products: tuple[str, ...]) -> str:
    """The codings of a name or code in a cell.

    Args:
        cell: the cell, not empty.
        system: code system of the column, '' for names and local codes.
        products: names of products and keys of therapies of the site beside those of the catalogue.

    Returns:
        The cell as it is; our own code follows where the cell is a key, or the name of a product.
    """
    found = [coding(system, cell)]
    if system:
        return found[0]
    if target_meaning(cell) is not None and cell != "ignore":
        found.append(coding(OWN, cell))
    product = products_by_name().get(word(cell)) or (cell if cell in products else None)
    if product is not None:
        found.append(coding(OWN, f"{'therapy' if product in therapies() else 'product'}:{product}"))
    return CODE_SEPARATOR.join(found)


@cache
def products_by_name() -> Mapping[str, str]:
    """Key of a therapy, or product, by each of its names, as `word` gives them."""
    found: dict[str, str] = {}
    for key, one in therapies().items():
        found[word(key)] = key
        for name in (one.product, one.name, one.name_ja, *one.brand):
            if name:
                found.setdefault(word(name), one.product)
    return found
