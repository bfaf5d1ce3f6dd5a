"""What results say of the command that made them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def training_options(result: Mapping[str, Any], default: str) -> str:
    """The options of a training's recipe and first weights, each with a blank before it.

    Args:
        result: has `recipe_file`, a file's name, and `weights`, with another one's, or None; it may have `changes`,
            KEY=VALUE each, of the recipe.
        default: the recipe that the benchmark takes by itself.
    """
    recipe = result["recipe_file"]
    # The project's own are named as they are found from its root.
    shown = f"recipes/{recipe}" if (RECIPES / recipe).exists() else recipe
    options = "" if recipe == default else f" --recipe {shown}"
    options += "".join(f" --set {change}" for change in result.get("changes", ()))
    return options + (f" --weights {result['weights']['file']}" if result["weights"] else "")
