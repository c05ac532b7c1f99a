"""The app that the benchmark builds: torch for the CPU and what usually stands beside it, 43 wheels."""

import builder


class Bench(builder.App):
    machine_type = "L"
    python_version = "3.11"
    requirements = ["torch==2.13.0", "transformers", "fastapi", "pillow", "numpy", "opencv-python"]

    def setup(self) -> None:
        import torch

        print(torch.__version__)
