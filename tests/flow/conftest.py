from tests.workers.conftest import level_id, tiny_model

__all__ = ["level_id", "tiny_model"]
