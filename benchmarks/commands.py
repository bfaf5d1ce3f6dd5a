"""What results say of the command that made them, and of what it was given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.files import sha256
from train.recipe import Recipe

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


def describe_weights(recipe: Recipe) -> dict[str, str] | None:
    """The file that training started from; None for timm's own weights or random ones, which the recipe says."""
    if recipe.weights is None:
        return None
    path = Path(recipe.weights)
    return {"file": path.name, **({"sha256": sha256(path)} if path.exists() else {})}
