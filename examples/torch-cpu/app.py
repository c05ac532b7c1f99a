"""PyTorch on a CPU: solves a linear system."""

from __future__ import annotations

from typing import Any

from builder import App, endpoint


class TorchCpu(App):
    python_version = "3.11"
    machine_type = "L"
    requirements = ["torch==2.13.0"]

    def setup(self) -> None:
        import torch

        self.torch = torch

    @endpoint("/")
    def solve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Solve `matrix @ x = vector`.

        Args:
            request: `matrix` is a list of rows, `vector` a list of as many numbers.
        """
        matrix = self.torch.tensor(request.get("matrix", [[2.0, 1.0], [1.0, 3.0]]), dtype=self.torch.float64)
        vector = self.torch.tensor(request.get("vector", [3.0, 5.0]), dtype=self.torch.float64)
        found = self.torch.linalg.solve(matrix, vector)
        residual = self.torch.linalg.vector_norm(matrix @ found - vector)
        return {"torch": self.torch.__version__, "x": found.tolist(), "residual": float(residual)}
