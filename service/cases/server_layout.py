"""Says how a Qdrant server keeps the collection of a case library."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from qdrant_client import models

from service.cases.points import PARTS, WORDS
from service.cases.schema import Identity

Number = Literal["float32", "float16"]
Quantization = Literal["scalar", "turbo", "product"]

_QUANTIZATION: dict[Quantization, models.QuantizationConfig] = {
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
    ),
    "turbo": models.TurboQuantization(
        turbo=models.TurboQuantQuantizationConfig(
            bits=models.TurboQuantBitSize.BITS4, always_ram=True
        )
    ),
    "product": models.ProductQuantization(
        product=models.ProductQuantizationConfig(
            compression=models.CompressionRatio.X16, always_ram=True
        )
    ),
}


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """How a server or cluster keeps a collection. It applies when the collection is made.

    None leaves the server's own default.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency_factor: int | None = None
    """Replicas that must have a write before it is acknowledged."""
    on_disk: bool = False
    """Whether the exact vectors stay on disk instead of in memory."""
    number: Number | None = None
    """Format of the stored vectors. float16 halves them and rounds each value to 11 bits."""
    quantization: Quantization | None = None
    """Kind of the small vectors that are searched in memory: a quarter (scalar), an eighth (turbo)
    or a sixteenth (product) of the size at float32. The stored vectors rank what these return.
    """

    def creation(self, identity: Identity) -> dict[str, Any]:
        """Returns the arguments of `QdrantClient.create_collection`."""
        params = models.VectorParams(
            size=identity.dimension,
            distance=models.Distance.COSINE,
            on_disk=self.on_disk or None,
            datatype=models.Datatype(self.number) if self.number else None,
        )
        words = models.SparseVectorParams(modifier=models.Modifier.IDF)
        return {
            "vectors_config": dict.fromkeys(PARTS, params),
            "sparse_vectors_config": {WORDS: words},
            "metadata": asdict(identity),
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.write_consistency_factor,
            "quantization_config": _QUANTIZATION.get(self.quantization)
            if self.quantization
            else None,
        }


SERVER_DEFAULTS = CollectionLayout()
