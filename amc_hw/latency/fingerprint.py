"""Who a measurement is of: the device, its runtime and how it was used."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Count = Annotated[int, Field(ge=1, lt=10**9)]


class Fingerprint(BaseModel):
    """Everything that must agree before two measurements may be put together.

    Attributes:
        device: model of the phone, board or machine.
        processor: system on chip or processor.
        system: operating system and its version.
        runtime: inference runtime, for example ``litert``.
        runtime_version: its version, or the sha256 of its binary, or both.
        threads: threads of the runtime.
        cores: processor numbers that the runtime is held to (``0,1``), or ``any``.
        delegate: ``xnnpack``, ``gpu``, ``npu``, ``nnapi``, an ONNX Runtime provider, or ``none``.
        dtype: ``float32``, ``int8``, ...
        batch_size: images for each run.
        simulated: the times are made up, for trying things out; in files it stands only where it is true.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    processor: str
    system: str
    runtime: str
    runtime_version: str
    threads: Count
    cores: str
    delegate: str
    dtype: str = "float32"
    batch_size: Count = 1
    simulated: bool = False

    def differences(self, other: Fingerprint) -> list[str]:
        """Say which fields differ, as ``field: ours, theirs``; empty when the two belong together."""
        ours, theirs = dict(self), dict(other)
        return [f"{field}: {ours[field]}, {theirs[field]}" for field in ours if ours[field] != theirs[field]]

    @model_serializer(mode="wrap")
    def _only_true(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        # The names of cached tables are made of this document, and those of real devices are to stay.
        return {name: value for name, value in serialize(self).items() if name != "simulated" or value}
