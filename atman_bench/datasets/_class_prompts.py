"""How an image's object is asked for: the prompt, and the names of classes.

Source: the AtMan paper, A.7 and Section 4.2 (``This is a picture of`` and the object's name).
"""

NO_ARTICLE = frozenset(
    {
        *(
            "accessories",
            "airplanes",
            "boots",
            "clogs",
            "earrings",
            "faces",
            "faces easy",
            "flats",
            "garfield",
            "glasses",
        ),
        *("gloves", "hair", "heels", "jeans", "leggings", "leopards", "loafers", "motorbikes", "panties", "pants"),
        *("broccoli", "skis"),
        *("pumps", "sandals", "scissors", "shoes", "shorts", "skin", "sneakers", "snoopy", "socks", "stockings"),
        *("sunglasses", "swimwear", "tights", "wedges"),
    }
)
"""Names of CCP, Caltech-101 and COCO that no article stands before: plurals, materials and proper names."""


def naming_prompt(label: str) -> str:
    """The prompt that a label completes, without a trailing space (the target brings it).

    ``an`` stands before the letters a, e, i, o and u, ``a`` before all others, and neither before ``NO_ARTICLE``.
    """
    if label.lower() in NO_ARTICLE:
        return "This is a picture of"
    return f"This is a picture of {'an' if label.lower().startswith(tuple('aeiou')) else 'a'}"


def class_name(folder: str) -> str:
    """The name of a class from that of its folder: lower case, spaces for underscores (``inline skate``)."""
    return folder.replace("_", " ").lower()
