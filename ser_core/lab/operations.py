"""Bare operations as layers, for files that hold nothing else between a model's layers."""

from typing import Any

import keras
from keras import ops

FUNCTIONS = {"Add": ops.add, "GetItem": ops.get_item}
"""What a model of ours may have between its layers, by Keras's names."""


@keras.saving.register_keras_serializable(package="ser")
class Applied(keras.layers.Layer):  # type: ignore[misc]
    """One of `FUNCTIONS` on a tensor, and on the `constants` after it."""

    def __init__(self, operation: str, constants: list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation, self.constants = operation, constants

    def call(self, x: Any) -> Any:
        constants = keras.saving.deserialize_keras_object(self.constants)
        return FUNCTIONS[self.operation](x, *constants)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "operation": self.operation,
            "constants": keras.saving.serialize_keras_object(self.constants),
        }
