"""Defines a training configuration, the recipe, and reads it from YAML."""

from training.recipe.recipe import (
    CONFIGS,
    Recipe,
    RecipeError,
    load_recipe,
    read_recipe,
    recipe_names,
)
from training.recipe.sections import (
    ExpertSpec,
    ModelSpec,
    OptimiserSpec,
    PixelStatistics,
    RunSpec,
)

__all__ = [
    "CONFIGS",
    "ExpertSpec",
    "ModelSpec",
    "OptimiserSpec",
    "PixelStatistics",
    "Recipe",
    "RecipeError",
    "RunSpec",
    "load_recipe",
    "read_recipe",
    "recipe_names",
]
