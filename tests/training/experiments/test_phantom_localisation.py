from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.bundle.preprocess import preprocess
from tests.support.results import write_results
from training.data.dataset import open_pairs
from training.data.phantom import PhantomConfig, phantom
from training.experiments.cells import Cell, Protocol
from training.experiments.phantom_gaze.protocol import PROTOCOL as PHANTOM_GAZE
from training.experiments.phantom_localisation.analyse import main
from training.experiments.phantom_localisation.contrasts import (
    GAZE,
    MEASURES,
    PLAIN,
    PRIMARY,
    QUESTIONS,
    SHUFFLED,
    slope,
)
from training.experiments.phantom_localisation.examples import draw_maps
from training.experiments.phantom_localisation.measure import measure_runs
from training.experiments.phantom_localisation.protocol import PROTOCOL, RESULTS, SMOKE
from training.experiments.phantom_localisation.run import run
from training.experiments.phantom_localisation.scores import best_level, iou, of_map, on_distractors
from training.experiments.phantom_localisation.truth import Truth
from training.experiments.results import Results, Row
from training.model.clip import image_spec
from training.recipe import RecipeError

ARMS = (PLAIN, SHUFFLED, GAZE)


@pytest.fixture(scope="module")
def miniature() -> Protocol:
    """One seed of two arms, on a handful of phantoms."""
    small = SMOKE.smaller(
        1,
        "data.train=64",
        "data.validation=16",
        "data.test=24",
        "optimiser.epochs=1",
        "optimiser.batch_size=32",
        "expert.share=0.5",
    )
    arms = {name: (f"method={name}",) for name in (PLAIN, GAZE)}
    return replace(small, parts={"main": replace(small.parts["main"], arms=arms)})


@pytest.fixture(scope="module")
def work(miniature: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the miniature was trained."""
    folder = tmp_path_factory.mktemp("localisation")
    run(miniature, ["main"], folder, folder / "results.parquet")
    return folder


def _cells() -> Iterator[Cell]:
    for part in PROTOCOL.parts:
        yield from PROTOCOL.cells(part)


@pytest.mark.slow
def test_arms_of_a_seed_differ_only_in_method_and_experts(tmp_path: Path) -> None:
    for cell in _cells():
        recipe = PROTOCOL.recipe_of(cell, tmp_path)
        plain = PROTOCOL.recipe_of(replace(cell, overrides=("method=clip",)), tmp_path)
        expert = recipe.expert.model_copy(update={"share": 0.05, "misplaced": 0.0})
        data = recipe.data.model_copy(update={"reader": "simulated"})
        alike = {"method": "clip", "expert": expert, "data": data}
        assert recipe.model_copy(update=alike) == plain, cell
        assert (recipe.data.reader == "measured") == (cell.part == "reader")


def test_no_cell_shares_a_seed_with_the_experiment_before() -> None:
    before = {cell.seed for part in PHANTOM_GAZE.parts for cell in PHANTOM_GAZE.cells(part)}
    assert before.isdisjoint(cell.seed for cell in _cells())
    assert {301, 302, 9901}.isdisjoint(cell.seed for cell in _cells())


def test_the_questions_are_of_arms_that_are_run() -> None:
    for part, metric, pairs in QUESTIONS:
        assert metric == PRIMARY
        assert {arm for pair in pairs for arm in pair} <= set(PROTOCOL.parts[part].arms)


def test_distractors_are_where_the_same_phantom_differs_without_them() -> None:
    config = PhantomConfig(size=64, seed=5, distractors=1.0)
    drawn, bare = phantom(config, 0), phantom(replace(config, distractors=0.0), 0)
    assert (drawn.lesions == bare.lesions).all()
    assert (drawn.gaze, drawn.study.report) == (bare.gaze, bare.study.report)
    moved = drawn.image != bare.image
    assert 0 < moved.mean() < 0.5
    assert (phantom(replace(config, distractors=0.0), 0).image == bare.image).all()


def test_the_overlap_is_of_the_pixels_from_a_level_of_each_maps_own_range() -> None:
    heats = np.array([[[0.0, 1.0], [2.0, 4.0]], [[3.0, 3.0], [3.0, 3.0]]])
    inside = np.array([[[False, False], [True, True]], [[True, False], [False, False]]])
    assert iou(heats, inside, 0.5).tolist() == [1.0, 0.0]
    assert iou(heats, inside, 0.9).tolist() == [0.5, 0.0]
    assert best_level(heats[:1], inside[:1]) == 0.3


def test_every_measure_of_a_map_is_also_of_small_and_of_large_lesions() -> None:
    """The median lesion is neither."""
    inside = np.zeros((3, 4, 4), bool)
    inside[0, 0, 0] = inside[1, 0, :2] = inside[2, 0] = True
    heats = np.zeros((3, 4, 4))
    heats[0, 3, 3] = heats[1, 3, 3] = heats[2, 0] = 1.0
    found = dict(of_map("map", heats, inside, 0.5))
    for measure, worst in (("pointing_game", 0), ("pixel_auc", 7 / 15), ("iou", 0)):
        assert found[f"map/{measure}/small"] == pytest.approx(worst)
        assert found[f"map/{measure}/large"] == 1.0
    assert found["map/iou"] == found["map/energy_inside"] == pytest.approx(1 / 3)
    assert len(found) == 4 * 3


def test_distractors_are_weighed_by_their_area_off_the_lesion() -> None:
    """Attention that moves into the lesion alone leaves `density_off_lesion` as it is."""
    inside, distractors = np.zeros((2, 2, 4, 4), bool)
    inside[:, :2, :2] = True
    distractors[0, 1:, 2:] = True  # 6 pixels of the 12 off the lesion; the second image has none
    even = np.full((2, 2, 2), 0.25, np.float32)
    drawn = np.array([[[0.7, 0.1], [0.1, 0.1]]] * 2, np.float32)
    found, moved = (dict(on_distractors(grid, distractors, inside)) for grid in (even, drawn))
    assert found["distractor/area"] == found["distractor/attention"] == pytest.approx(6 / 16)
    assert found["distractor/density"] == found["distractor/density_off_lesion"] == 1.0
    assert found["distractor/pointing_game"] == pytest.approx(6 / 16)
    assert moved["distractor/attention"] == pytest.approx(0.15)
    assert moved["distractor/density"] == pytest.approx(0.4)
    assert moved["distractor/density_off_lesion"] == pytest.approx(1.0)
    assert moved["distractor/pointing_game"] == 0.0
    assert not dict(on_distractors(even, inside, inside))


@pytest.mark.slow
def test_runs_are_measured_once_and_every_measure_of_the_tables_is_there(
    miniature: Protocol, work: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.parquet"
    measure_runs(miniature, work, tmp_path, results)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    measure_runs(miniature, work, tmp_path, results)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == first
    found = Results(results)
    assert found.arms() == [("main", PLAIN), ("main", GAZE)]
    run(miniature, ["main"], tmp_path / "elsewhere", results)
    assert not (tmp_path / "elsewhere").exists()
    assert all(found.of("main", GAZE, metric)[1001] >= 0 for metric in MEASURES)


@pytest.mark.slow
def test_truth_is_of_the_recipes_own_phantoms(miniature: Protocol, work: Path) -> None:
    cell = next(miniature.cells("main"))
    recipe, spec = miniature.recipe_of(cell, work / "phantoms"), image_spec("phantom-64")
    truth = Truth.of(recipe, spec)
    config = PhantomConfig(size=64, seed=recipe.data.seed, contrast=1.5)
    for row, pixels, inside in zip(
        truth.single.rows, truth.single.pixels, truth.single.inside, strict=True
    ):
        drawn = phantom(config, 64 + 16 + int(row))
        assert len(drawn.findings) == 1
        assert (drawn.lesions[0] == inside).all()
        assert (preprocess(drawn.image, spec) == pixels).all()
    test = open_pairs(recipe.data, spec, Path(), recipe.expert.sigma)("test")
    plain = [not test.studies[row].metadata["distractors"] for row in truth.single.rows]
    assert not truth.distractors[plain].any()
    assert truth.distractors[~np.array(plain)].any()


@pytest.mark.slow
def test_a_run_of_another_recipe_is_refused(
    miniature: Protocol, work: Path, tmp_path: Path
) -> None:
    other = replace(miniature, recipe=(*miniature.recipe, "optimiser.learning_rate=1e-4"))
    with pytest.raises(RecipeError, match="was not trained by"):
        measure_runs(other, work, tmp_path, tmp_path / "results.parquet")


@pytest.mark.slow
def test_the_figure_of_maps_has_a_row_a_finding_and_a_column_an_arm(
    miniature: Protocol, work: Path
) -> None:
    whole = replace(miniature, parts=PROTOCOL.parts)
    figure = draw_maps(whole, work)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["lesion outlined", PLAIN, GAZE]
    with pytest.raises(FileNotFoundError, match="train it first"):
        draw_maps(whole, work / "elsewhere")


def _synthetic() -> list[Row]:
    rng = np.random.default_rng(0)
    level = {PLAIN: 0.2, SHUFFLED: 0.4, GAZE: 0.7}
    rows = [
        ("main", arm, seed, metric, level[arm] + 0.02 * rng.standard_normal(), "")
        for arm in ARMS
        for seed in range(1001, 1011)
        for metric in (*MEASURES, "prior/centre/pointing_game", "prior/mean_gaze/pixel_auc")
    ]
    for seed in range(1001, 1009):
        for dose in (25, 50, 75):
            arm = f"{GAZE}, {dose} % misplaced"
            rows.append(("doses", arm, seed, PRIMARY, 0.7 - 0.3 * dose / 100, ""))
        for arm in ARMS:
            rows.append(("shares", f"{arm} at 1 %", seed, PRIMARY, level[arm], ""))
    return rows


@pytest.mark.slow
def test_tables_and_figures_come_of_whatever_was_measured(tmp_path: Path) -> None:
    write_results(tmp_path / "results.parquet", _synthetic())
    main(tmp_path / "results.parquet", tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    assert "| main | pointing | gaze_attention − shuffled_attention | 10 of 20 | +0." in tables
    assert "| gaze_attention − duplicate_always at 1 % | 8 |" in tables
    assert {path.name for path in tmp_path.glob("*.png")} == {"arms.png", "doses.png", "shares.png"}


def test_the_slope_is_of_pointing_on_the_fraction_of_misplaced_gaze(tmp_path: Path) -> None:
    doses = {0: ("main", GAZE), 100: ("main", SHUFFLED)}
    doses |= {d: ("doses", f"{GAZE}, {d} % misplaced") for d in (25, 50, 75)}
    rows = [
        (part, arm, seed, PRIMARY, 0.8 - (0.3 + 0.01 * (seed - 1001)) * dose / 100, "")
        for dose, (part, arm) in doses.items()
        for seed in (1001, 1002, 1003)
    ]
    write_results(tmp_path / "results.parquet", rows)
    found = slope(Results(tmp_path / "results.parquet"))
    assert found is not None
    assert (found.n, found.mean) == (3, pytest.approx(-0.31))


@pytest.mark.skipif(not RESULTS.exists(), reason="no results are committed yet")
def test_every_committed_result_is_a_cell_of_the_protocol() -> None:
    found, asked = Results(RESULTS), {cell.key for cell in _cells()}
    assert {
        (part, arm, seed) for part, arm in found.arms() for seed in found.of(part, arm, PRIMARY)
    } <= asked
