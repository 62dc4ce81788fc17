"""Names for the NumPy array types that many modules share."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
