import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from service.bundle.manifest import load
from training import cli
from training.data.labels import CHEXPERT
from training.data.manifest import read_manifest
from training.data.study import ManifestStudy, split_of, write_studies
from training.errors import DATA_FAULT, OWN_FAULT, USAGE_FAULT

PATIENTS = 12


@pytest.fixture
def invoke():
    def run(*arguments):
        result = CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def fails(monkeypatch, capsys):
    """Run the installed command; returns its one line of complaint."""

    def run(*arguments, status=DATA_FAULT):
        monkeypatch.setattr(sys, "argv", ["eclip-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == status
        complaint = capsys.readouterr().err
        assert ("Traceback" in complaint) == (status == OWN_FAULT)
        return " ".join(complaint.split())

    return run


@pytest.fixture
def downloaded(tmp_path):
    """A data set as its authors publish it, with a picture that has no note."""
    root = tmp_path / "downloaded"
    (root / "images").mkdir(parents=True)
    columns = ["patientid", "finding", "view", "modality", "filename", "clinical_notes"]
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for number in range(PATIENTS + 1):
            note = f"Opacity number {number}." if number < PATIENTS else ""
            table.writerow([number, "Pneumonia", "PA", "X-ray", f"{number}.png", note])
            levels = np.random.default_rng(number).integers(0, 256, (48, 40)).astype(np.uint8)
            Image.fromarray(levels).save(root / "images" / f"{number}.png")
    return root


@pytest.mark.slow
def test_a_downloaded_data_set_becomes_a_measured_bundle(invoke, downloaded, tiny_model, tmp_path):
    """data → fit → export → evaluate, as a user would on pairs of their own."""
    out, run, bundle = tmp_path / "pairs", tmp_path / "run", tmp_path / "bundle"
    summary = invoke("data", "covid_chestxray", "--root", downloaded, "--out", out)
    assert f"{PATIENTS} studies of {PATIENTS} patients" in summary
    assert f"image–report pairs: {PATIENTS}" in summary
    assert f"views: {PATIENTS} PA" in summary
    assert f"reports: {PATIENTS} distinct; median 3 words, 95th percentile 3" in summary
    assert "longer than the 77 tokens of ViT-B-32: 0.0%" in summary
    assert "skipped: 1 no clinical note" in summary
    studies = list(read_manifest(out / "studies.parquet"))
    assert studies == list(read_manifest(out / "studies.jsonl"))
    assert sorted(path.name for path in (out / "images").iterdir()) == sorted(
        f"{study.study_id}.png" for study in studies
    )
    recipe = [
        "own-pairs",
        run,
        f"model.name={tiny_model}",
        f"data.path={out / 'studies.parquet'}",
        "data.fractions=[0.4, 0.3, 0.3]",
        "optimiser.epochs=1",
        "optimiser.batch_size=2",
        "optimiser.ema=0.5",
    ]
    assert "Trained" in invoke("fit", *recipe)
    assert "within" in invoke("export", run, bundle, "--name", "mine", "--version", "2")
    manifest = load(bundle).manifest
    assert (manifest.name, manifest.version) == ("mine", "2")
    assert manifest.provenance["recipe"]["optimiser"]["epochs"] == 1
    assert manifest.metrics["validation/recall@10"] > 0
    table = invoke("evaluate", bundle, out / "studies.jsonl", "--train-share", "0.5")
    assert "recall@1/image-to-report" in table
    assert f"test studies: {PATIENTS}" not in table
    unseen = [s for s in studies if split_of(s.patient_id, (0.4, 0.3, 0.3)) == "test"]
    assert 0 < len(unseen) < PATIENTS
    for source in (run, bundle):
        assert f"test studies: {len(unseen)}," in invoke("evaluate", source, out / "studies.jsonl")
    for name in ("studies.jsonl", "studies.parquet"):
        everyone = invoke("evaluate", bundle, out / name, "--train-share", "0")
        assert f"test studies: {PATIENTS}" in everyone


def test_reports_without_images_become_a_library_and_no_pairs(invoke, tmp_path):
    (tmp_path / "reports.csv").write_text("uid,Problems,findings,impression\n1,normal,Clear.,\n")
    summary = invoke("data", "open_i", "--root", tmp_path, "--out", tmp_path / "out")
    assert "image–report pairs: 0" in summary
    assert "views: none" in summary
    assert "skipped: none" in summary
    (study,) = read_manifest(tmp_path / "out" / "studies.jsonl")
    assert study.report == "FINDINGS: Clear."


def test_a_listed_subset_is_all_that_is_written(invoke, downloaded, tmp_path):
    (tmp_path / "ids.txt").write_text("images/3.png\n5\n")
    out = tmp_path / "out"
    arguments = ["--root", downloaded, "--out", out, "--subset", tmp_path / "ids.txt"]
    invoke("data", "covid_chestxray", *arguments)
    studies = list(read_manifest(out / "studies.parquet"))
    assert [(s.study_id, s.split) for s in studies] == [("3", "test"), ("5", "test")]
    assert {path.name for path in (out / "images").iterdir()} == {"3.png", "5.png"}


def test_patients_of_a_test_are_kept_out_of_the_training(invoke, downloaded, tmp_path):
    (tmp_path / "ids.txt").write_text("3\n5\n")
    test, train = tmp_path / "test", tmp_path / "train"
    arguments = ["covid_chestxray", "--root", downloaded, "--out"]
    invoke("data", *arguments, test, "--subset", tmp_path / "ids.txt")
    said = invoke("data", *arguments, train, "--without", test / "studies.parquet")
    assert "2 of a patient of studies.parquet" in said
    kept = {s.patient_id for s in read_manifest(train / "studies.parquet")}
    assert len(kept) == PATIENTS - 2
    assert kept.isdisjoint(s.patient_id for s in read_manifest(test / "studies.parquet"))


def test_a_list_of_images_takes_each_and_lateral_ones_too(invoke, tmp_path):
    views = ("view1_frontal", "view2_lateral")
    folder = "train/patient00001/study1"
    (tmp_path / folder).mkdir(parents=True)
    for view in views:
        Image.new("L", (32, 32)).save(tmp_path / folder / f"{view}.jpg")
    columns = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        for view, kind in zip(views, ("Frontal", "Lateral"), strict=True):
            path = f"CheXpert-v1.0/{folder}/{view}.jpg"
            table.writerow({"Path": path, "Frontal/Lateral": kind, "Edema": "1.0"})
    arguments = ["chexpert", "--root", tmp_path, "--out", tmp_path / "out"]
    invoke("data", *arguments, "--subset", tmp_path / "train.csv")
    studies = list(read_manifest(tmp_path / "out" / "studies.parquet"))
    ids = ["patient00001-study1", "patient00001-study1-lateral"]
    assert [s.study_id for s in studies] == ids
    assert all(s.findings == ("edema",) and len(s.images) == 1 for s in studies)
    (tmp_path / "ids.txt").write_text(ids[0])
    invoke("data", *arguments, "--subset", tmp_path / "ids.txt")
    (study,) = read_manifest(tmp_path / "out" / "studies.parquet")
    assert study.images == (f"{folder}/{views[0]}.jpg",)


def test_a_subset_that_cannot_be_drawn_is_refused(fails, downloaded, tmp_path):
    arguments = ["--root", downloaded, "--out", tmp_path / "out", "--subset", "mimic-5x200"]
    complaint = fails("data", "covid_chestxray", *arguments)
    assert "SubsetError: mimic-5x200 is a subset of mimic_cxr" in complaint
    assert not (tmp_path / "out").exists()


def test_a_leak_is_said_in_one_line(fails, tmp_path):
    study = ManifestStudy("1", "p", "test", ("1.png",), "Normal.", split="train")
    leak = replace(study, study_id="2", split="test")
    write_studies(tmp_path / "studies.jsonl", [study, leak])
    complaint = fails("evaluate", cli.DEMO.absolute() / "bundle", tmp_path / "studies.jsonl")
    assert complaint == (
        "LeakageError: train and test share 1 patients, 0 studies, 1 images. "
        "Correct the splits in the manifest"
    )


def test_the_demo_can_be_made_small(invoke, monkeypatch, tmp_path):
    seen = {}

    def make_demo(recipe, run, destination):
        seen.update(recipe=recipe, run=run, destination=destination)
        return load(cli.DEMO / "bundle")

    monkeypatch.setattr("training.demo.make_demo", make_demo)
    output = invoke("demo", "--run", tmp_path / "r", "--out", tmp_path / "d", "data.train=7")
    assert seen["recipe"].data.train == 7
    assert (seen["run"], seen["destination"]) == (tmp_path / "r", tmp_path / "d")
    assert "auroc_present/macro" in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fit", "nothing", "run"], "RecipeError: no recipe 'nothing'"),
        (
            ["fit", "phantom-tiny", "run", "epoch=1"],
            "RecipeError: unknown key 'epoch'; the nearest is 'optimiser.epochs'",
        ),
        (
            ["fit", "phantom-tiny", "run", "optimiser.epochs=0"],
            "RecipeError: optimiser.epochs: Input should be greater",
        ),
        (["fit", "phantom-tiny", "run", "model.name=nothing"], "RecipeError: no model 'nothing'"),
        (["fit", "phantom-tiny", "run", "method=eklip"], "there are clip, duplicate"),
        (
            ["data", "nothing", "--root", ".", "--out", "pairs"],
            "there are chexpert, covid_chestxray",
        ),
        (["export", "nothing", "bundle"], "RecipeError: no model 'nothing'"),
        (["fit", "latin.yaml", "run"], "RecipeError: cannot read latin.yaml"),
        (["shards", "phantom-tiny", "out"], "RecipeError: shards are made from a manifest"),
        (["evaluate", "nothing", "nothing.jsonl"], "does not exist"),
        (["evaluate", ".", "studies.jsonl", "--suite", "retrieval,zeroshot"], "no zeroshot"),
        (["evaluate", ".", "studies.jsonl", "--uncertain", "maybe"], "'maybe' is not one of"),
    ],
)
def test_a_command_that_asks_for_what_is_not_there_ends_with_2(
    fails, monkeypatch, tmp_path, arguments, complaint
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies.jsonl").touch()
    (tmp_path / "latin.yaml").write_bytes("name: übung".encode("latin-1"))
    assert complaint in fails(*arguments, status=USAGE_FAULT)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fit", "own-pairs", "run", "data.path=nothing.jsonl"], "nothing.jsonl"),
        (["export", "local-dir:x", "bundle", "--pretrained", "w.pt"], "its own weights"),
        (["data", "chexpert", "--root", ".", "--out", "o"], "holds none of train.csv, valid.csv"),
        (["data", "mimic_cxr", "--root", ".", "--out", "o"], "holds no mimic-cxr-2.0.0-chexpert"),
        (["data", "egd_cxr", "--root", ".", "--out", "o"], "holds no master_sheet.csv"),
    ],
)
def test_data_that_cannot_be_used_end_with_1(fails, monkeypatch, tmp_path, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    assert complaint in fails(*arguments)


def test_a_file_without_permission_is_named(fails, monkeypatch, downloaded, tmp_path):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "metadata.csv")

    monkeypatch.setattr("training.data.sources.table._open_text", refused)
    arguments = ["--root", downloaded, "--out", tmp_path / "out"]
    complaint = fails("data", "covid_chestxray", *arguments)
    assert complaint == "PermissionError: Permission denied: metadata.csv"


def test_a_fault_of_ours_ends_with_70_and_shows_where(fails, monkeypatch, downloaded, tmp_path):
    monkeypatch.setattr("training.survey.summarise", lambda _: 1 / 0)
    arguments = ["--root", downloaded, "--out", tmp_path / "out"]
    complaint = fails("data", "covid_chestxray", *arguments, status=OWN_FAULT)
    assert complaint.endswith("ZeroDivisionError: division by zero")


def test_a_cell_that_cannot_be_read_is_named(fails, tmp_path):
    (tmp_path / "labels.csv").write_text("filename,label,subtype,patient\na.png,sick,,1\n")
    arguments = ["--root", tmp_path, "--out", tmp_path / "out"]
    complaint = fails("data", "pediatric_pneumonia", *arguments)
    assert "DataError: labels.csv, row 2, column label: 'sick' is none of" in complaint


def test_a_damaged_image_stops_an_evaluation_and_is_named(fails, tmp_path):
    study = ManifestStudy("s1", "p", "test", ("1.png",), "Normal.")
    write_studies(tmp_path / "studies.jsonl", [study])
    (tmp_path / "1.png").write_bytes(b"")
    complaint = fails("evaluate", cli.DEMO.absolute() / "bundle", tmp_path / "studies.jsonl")
    assert "ImageUnreadable: cannot read 1.png of study 's1': " in complaint


def test_shards_name_what_they_leave_out(invoke, tiny_model, tmp_path):
    studies = []
    for number in range(24):
        levels = np.random.default_rng(number).integers(0, 256, (48, 40)).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{number}.png")
        studies.append(ManifestStudy(f"s{number}", "p", "test", (f"{number}.png",), "Normal."))
    for number in range(22):
        (tmp_path / f"{number}.png").write_bytes(b"")
    write_studies(tmp_path / "studies.jsonl", studies)
    recipe = [f"model.name={tiny_model}", f"data.path={tmp_path / 'studies.jsonl'}"]
    said = invoke("shards", "own-pairs", tmp_path / "shards", *recipe)
    assert "2 images in 1 shards" in said
    assert "images that could not be read: 22" in said
    assert "left out: 19.png (" in said
    assert "left out: 20.png" not in said
    assert "and 2 more" in said


def test_a_bundle_that_exists_is_not_overwritten(fails, finished, tmp_path):
    assert "immutable" in fails("export", finished.run, tmp_path)


def test_a_run_without_a_finished_epoch_cannot_be_exported(fails, finished, tmp_path):
    for name in ("recipe.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((finished.run / name).read_bytes())
    complaint = fails("export", tmp_path, tmp_path / "bundle")  # its lines break anywhere
    assert "last.ckpt" in complaint.replace(" ", "")


def test_a_data_set_without_a_single_pair_is_refused(fails, downloaded, tmp_path):
    (downloaded / "images").rename(downloaded / "elsewhere")
    complaint = fails("data", "covid_chestxray", "--root", downloaded, "--out", tmp_path / "pairs")
    assert "no study of covid_chestxray lies in" in complaint
    assert f"(skipped: {PATIENTS} no image file, 1 no clinical note)" in complaint
    assert not (tmp_path / "pairs").exists()


def test_a_split_without_studies_is_refused(fails, tmp_path):
    (tmp_path / "studies.jsonl").write_text("")
    bundle = cli.DEMO.absolute() / "bundle"
    assert "no study with an image" in fails("evaluate", bundle, tmp_path / "studies.jsonl")


def test_labels_that_cannot_be_read_are_refused(fails, finished, tmp_path):
    (tmp_path / "labels.json").write_text('{"mine": {"mass": {}}}')
    arguments = [finished.run, tmp_path / "b", "--labels", tmp_path / "labels.json"]
    complaint = fails("export", *arguments)
    assert "labels.json does not hold label sets: mine.mass.present: Field required." in complaint
