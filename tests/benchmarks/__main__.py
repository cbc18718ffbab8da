"""All benchmarks, one after another: python -m tests.benchmarks"""

from tests.benchmarks import corruptions, curvature

if __name__ == "__main__":
    curvature.main()
    corruptions.main()
