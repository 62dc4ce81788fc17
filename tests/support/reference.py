"""Makes the synthetic radiographs whose renditions are compared with those of dcmtk."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def grouped(dataset: Dataset, group: str, *, shared: bool = False, **elements: object) -> Dataset:
    """Adds a functional group to a dataset: of its first frame, or shared by all (PS3.3 C.7.6.16).

    Returns the dataset.
    """
    kind = "Shared" if shared else "PerFrame"
    keyword = f"{kind}FunctionalGroupsSequence"
    if keyword not in dataset:
        setattr(dataset, keyword, Sequence([Dataset()]))
    macro = Dataset()
    for name, value in elements.items():
        setattr(macro, name, value)
    setattr(dataset[keyword].value[0], group, Sequence([macro]))
    return dataset
