from typing_extensions import Buffer

def nearest(
    x: Buffer, bits: int, symmetric: bool, type: str, weights: Buffer | None, codes: Buffer, scales: Buffer, zeros: Buffer
) -> None: ...
