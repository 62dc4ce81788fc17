import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from service.bundle.labels import LabelSets, Prompts
from service.bundle.manifest import INT8, Int8, load, seal
from service.bundle.preprocess import ImageSpec
from training import cli
from training.data.gaze import Sigma
from training.data.manifest import read_manifest, write_manifest
from training.data.phantom import PROMPTS, PhantomConfig, phantom
from training.data.rendering import phantom_pairs
from training.data.splits import LeakageError
from training.data.study import DataError, Gaze, ManifestStudy, split_of
from training.data.subsets import SUBSETS
from training.evaluate.encode import BundleEncoder, TorchEncoder
from training.evaluate.evaluation import Evaluation, gaze_sigma, one_set, validation_pairs
from training.evaluate.page import page
from training.evaluate.result import Measurement, Result
from training.evaluate.suite import MEASURES, run_suite
from training.export.bundle import write_bundle
from training.export.int8 import quantise
from training.recipe import CONFIGS, load_recipe

pytestmark = pytest.mark.slow

LABELS = LabelSets.model_validate({"phantom": PROMPTS})
PROMPTS_OF = LABELS.root["phantom"]
CONFIG = PhantomConfig(size=64, seed=3)
STUDIES = 60


@pytest.fixture(scope="module")
def bundle(make_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "bundle"
    return write_bundle(
        make_clip("vit"), folder, name="tiny", bundle_version="1", label_sets=LABELS
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Phantoms on disk, with gaze; two in three patients are for training."""
    folder = tmp_path_factory.mktemp("phantoms")
    (folder / "images").mkdir()
    drawn = [phantom(CONFIG, index) for index in range(STUDIES)]
    for one in drawn:
        Image.fromarray(one.image).save(folder / one.study.images[0])
    write_manifest(folder / "studies.parquet", [one.study for one in drawn])
    return folder / "studies.parquet"


@pytest.fixture(scope="module")
def evaluate(manifest):
    def evaluate(*arguments):
        command = ["evaluate", arguments[0], manifest, "--train-share", "0.6", *arguments[1:]]
        result = CliRunner().invoke(cli.cli, [str(one) for one in command])
        assert result.exit_code == 0, result.output
        return result.output

    return evaluate


@pytest.fixture(scope="module")
def measured(bundle, evaluate, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured") / "out"
    return evaluate(bundle.path, "--suite", "all", "--out", out), out


def test_the_whole_suite_runs_from_the_command_line(measured):
    output, out = measured
    sections = json.loads((out / "metrics.json").read_text())["sections"]
    assert list(sections) == list(MEASURES)
    for name, section in sections.items():
        assert section["values"], name
        assert name in output
    assert sections["zero_shot"]["values"]["auroc_present/macro"]["chance"] == 0.5
    measured = sections["maps"]["values"]
    assert {"map/text/gaze/pixel_auc", "map/text/gaze/pixel_auc/mean_gaze_prior"} <= set(measured)
    assert "no study has a lesion region for the text map" in sections["maps"]["notes"]
    assert "examples" not in sections["maps"]


def test_a_second_run_writes_the_same_record_and_page(measured, bundle, evaluate, tmp_path):
    _, out = measured
    evaluate(bundle.path, "--suite", "all", "--out", tmp_path)
    for name in ("metrics.json", "report.html"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_the_page_stands_alone(measured):
    _, out = measured
    html = (out / "report.html").read_text()
    sources = re.findall(r'(?:src|href|action|data|poster)\s*=\s*"([^"]*)"', html)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:|<script|<link|@import|url\(", html)
    assert len(html) < 1_000_000
    for name in ("Zero-shot", "Linear probe", "Retrieval", "Geometry", "reports", "Maps"):
        assert name in html


def test_names_are_escaped():
    html = page(Result({"encoder": "<b>"}, {"retrieval": Measurement(notes=("a < b",))}))
    assert "<b>" not in html
    assert "a &lt; b" in html


def test_without_a_suite_it_is_retrieval_alone(bundle, evaluate):
    output = evaluate(bundle.path)
    assert "recall@10/image-to-report" in output
    assert "auroc" not in output


def test_a_run_agrees_with_the_bundle_it_gave(finished, evaluate, tmp_path):
    write_bundle(finished.clip, tmp_path / "given", name="x", bundle_version="1", label_sets=LABELS)
    arguments = ["--suite", "all", "--against", tmp_path / "given", "--out", tmp_path / "out"]
    assert "against given: the largest difference is" in evaluate(finished.run, *arguments)
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert max(map(abs, record["differences"]["given"].values())) <= 1e-4
    assert "Against given" in (tmp_path / "out" / "report.html").read_text()


def test_another_model_is_refused_after_the_report_is_written(
    finished, bundle, manifest, monkeypatch, capsys, tmp_path
):
    command = ["eclip-train", "evaluate", finished.run, manifest, "--against", bundle.path]
    monkeypatch.setattr("sys.argv", [*map(str, command), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "Disagreement:" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "report.html").exists()


def test_int8_graphs_are_measured_beside_their_float_twins(bundle, evaluate, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(bundle.path, folder)
    for tower, small in INT8.items():
        quantise(folder / tower, folder / small)
    change = Int8(golden=bundle.manifest.golden, studies=1, overlap_at_10=1, decisions=1)
    seal(folder, bundle.manifest.model_copy(update={"int8": change}))
    assert "against its int8 graphs: the largest difference is" in evaluate(folder)


def trained_on(bundle, folder, **data):
    """The same bundle, of a recipe that divided its patients."""
    shutil.copytree(bundle.path, folder)
    recipe = {"recipe": {"data": data}}
    seal(folder, bundle.manifest.model_copy(update={"provenance": recipe}))
    return folder


def test_what_a_bundle_was_trained_on_is_not_its_test(bundle, manifest, tmp_path):
    source = trained_on(bundle, tmp_path / "b", path="studies.parquet", fractions=[0.5, 0.2, 0.3])
    patients = [study.patient_id for study in read_manifest(manifest)]
    test = [p for p in patients if split_of(p, (0.5, 0.2, 0.3)) == "test"]
    assert 0 < len(test) < len(patients)
    found = Evaluation(manifest, None, ("geometry",))(source)
    assert found.about["test studies"] == len(test)
    assert found.about["patients without a published split"] == (
        "train 0.5, validation 0.2, test 0.3"
    )
    asked = Evaluation(manifest, 0.0, ("geometry",))(source)
    assert asked.about["test studies"] == len(patients)


def test_a_bundle_that_tells_of_no_shares_is_measured_on_everyone(bundle, manifest, tmp_path):
    source = trained_on(bundle, tmp_path / "b", source="phantom")
    found = Evaluation(manifest, None, ("geometry",))(source)
    assert found.about["test studies"] == len(list(read_manifest(manifest)))


def test_phantoms_with_lesions_are_measured_in_memory(make_clip):
    encoder = TorchEncoder(make_clip("vit"))
    sigma = Sigma(3, "pixel")
    test, train, validation = (
        phantom_pairs(CONFIG, part, encoder.image_spec, sigma)
        for part in (range(30), range(30, 50), range(50, 80))
    )
    some = {"measures": ["maps", "reports"], "validation": validation}
    result = run_suite(encoder, test, train, PROMPTS_OF, **some)
    assert list(result.sections) == ["maps", "reports"]
    measured = result.sections["maps"]
    assert measured.values["map/text/lesion/iou/mean_gaze_prior"].n > 3
    assert len(measured.examples) > 1
    assert "Maps on the first lesion of each finding" in page(result)
    assert len(result.to_json()) < 50_000
    with pytest.raises(LeakageError):
        run_suite(encoder, test, test, PROMPTS_OF)
    with pytest.raises(LeakageError):
        run_suite(encoder, test, train, PROMPTS_OF, validation=test)
    with pytest.raises(DataError, match="unknown measure magic; there are zero_shot"):
        run_suite(encoder, test, train, PROMPTS_OF, measures=["magic"])


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(bundle):
    pairs = phantom_pairs(CONFIG, range(12), bundle.manifest.image)
    sections = run_suite(BundleEncoder(bundle), pairs, None, {}).sections
    assert sections["zero_shot"].notes == ("not measured: there are no labels",)
    for name in ("linear_probe", "reports"):
        assert sections[name].notes == ("not measured: there are no training studies",)
    assert sections["geometry"].values


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.labels.json")), ids=lambda p: p.name)
def test_the_prompts_that_come_with_the_project_say_and_deny(path):
    sets = LabelSets.model_validate_json(path.read_bytes()).root
    labels = [label for labels in sets.values() for label in labels.values()]
    assert all(label.present and label.absent for label in labels)


def test_each_published_test_has_prompts_for_its_findings_and_no_others():
    sets = LabelSets.model_validate_json((CONFIGS / "published-tests.labels.json").read_bytes())
    for name, subset in SUBSETS.items():
        assert set(sets.root[name.split("-")[1]]) == set(subset.findings)


def test_labels_of_several_sets_are_not_mixed():
    sets = {"a": {"mass": Prompts(present=("A mass.",))}, "b": {}}
    with pytest.raises(DataError, match="there are a, b; name one of them as --label-set"):
        one_set(sets)
    assert one_set(sets, "a") == sets["a"]
    with pytest.raises(DataError, match="there is no label set 'c'; there are a, b"):
        one_set(sets, "c")


def test_a_run_has_no_label_set_to_choose(finished, manifest):
    with pytest.raises(DataError, match="there is no label set 'b'; there are none"):
        Evaluation(manifest, 0.5, ("zero_shot",), label_set="b")(finished.run)


def test_a_published_file_of_phrases_measures_as_labels_do(bundle, evaluate, tmp_path):
    (tmp_path / "constants.py").write_text(
        'A_CLASS_PROMPTS = {"Mass": {"a": ["x"]}}\n'
        'B_CLASS_PROMPTS = {"Nodule": {"a": ["", "large"], "b": ["nodule"]},'
        ' "No Nodule": {"a": ["No nodule."]}}\n'
    )
    arguments = ["--suite", "zero_shot", "--labels", tmp_path / "constants.py", "--label-set", "b"]
    said = " ".join(evaluate(bundle.path, *arguments, "--prompt-mean", "plain").split())
    assert "labels: nodule, mean of a label's prompts: plain" in said
    assert "two_class_accuracy/macro" in said


def test_gaze_is_drawn_in_degrees_only_where_all_readings_state_them():
    spec = ImageSpec(height=64, width=64)
    stated, plain = Gaze((0.5,), (0.5,), (9.0,), ((0.1, 0.1),)), Gaze((0.5,), (0.5,), (9.0,))

    def sigma(*readings):
        return gaze_sigma([ManifestStudy("1", "p", "t", (), "", gaze=readings)], spec)

    assert sigma() is None
    assert sigma(stated) == Sigma(1.0, "degree")
    assert sigma(stated, plain) == Sigma(0.05 * 64, "pixel")


def test_calibration_uses_a_runs_own_validation_split_or_a_manifests(finished, manifest):
    spec = finished.clip.image
    own = validation_pairs(finished.run, spec, None)
    assert len(own) == 32
    assert len(validation_pairs(manifest, spec, None)) == STUDIES
    recipe = load_recipe("own-pairs", ["data.fractions=[0.5, 0.3, 0.2]"])
    some = validation_pairs(manifest, spec, recipe)
    assert 0 < len(some) < STUDIES
    assert (
        np.isin([s.patient_id for s in some.studies], [s.patient_id for s in own.studies]).sum()
        == 0
    )


def test_an_export_is_calibrated_or_says_why_not(finished, tmp_path, caplog):
    labels = tmp_path / "labels.json"
    labels.write_text(LABELS.model_dump_json())
    command = ["export", finished.run, tmp_path / "new" / "b", "--labels", labels, "--validation"]
    result = CliRunner().invoke(cli.cli, [str(one) for one in [*command, finished.run]])
    assert result.exit_code == 0, result.output
    written = LabelSets.model_validate_json((tmp_path / "new" / "b" / "labels.json").read_bytes())
    output = " ".join(result.output.split())
    for name, label in written.root["phantom"].items():
        assert (label.calibration is None) == (f"not calibrated: phantom: {name} (" in output)
    int8 = load(tmp_path / "new" / "b").manifest.int8
    assert (int8 is None) == ("int8 is not admitted" in caplog.text)
    assert ("int8 (of 32 validation studies" in load(tmp_path / "new" / "b").model_card) == bool(
        int8
    )


def test_an_export_to_where_a_bundle_lies_is_refused_before_any_work(finished, tmp_path):
    command = ["export", finished.run, tmp_path, "--validation", finished.run]
    result = CliRunner().invoke(cli.cli, [str(one) for one in command])
    assert isinstance(result.exception, FileExistsError)
    assert "immutable" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
