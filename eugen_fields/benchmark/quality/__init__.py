"""What training reaches: PSNR by steps, seconds, bytes and parameters."""

from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.frontier import Frontier
from eugen_fields.benchmark.quality.rivals import Rivals
from eugen_fields.benchmark.quality.scenes import Scenes
from eugen_fields.benchmark.quality.size import Size
from eugen_fields.benchmark.quality.transfer import Transfer

__all__ = ["Frontier", "Rivals", "Scenes", "Size", "Train", "Transfer"]
