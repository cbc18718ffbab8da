"""All benchmarks, one after another: python -m tests.benchmarks"""

from tests.benchmarks import corruptions, curvature

curvature.main()
corruptions.main()
