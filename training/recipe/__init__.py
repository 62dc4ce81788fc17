"""Defines a training configuration, the recipe, and reads it from YAML."""

from training.recipe.recipe import (
    CONFIGS,
    ExpertSpec,
    ModelSpec,
    OptimiserSpec,
    Recipe,
    RecipeError,
    RunSpec,
    load_recipe,
    read_recipe,
    recipe_names,
)

__all__ = [
    "CONFIGS",
    "ExpertSpec",
    "ModelSpec",
    "OptimiserSpec",
    "Recipe",
    "RecipeError",
    "RunSpec",
    "load_recipe",
    "read_recipe",
    "recipe_names",
]
