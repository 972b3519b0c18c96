"""stub"""
from __future__ import annotations
import glob, hashlib
from dataclasses import dataclass
from pathlib import Path
from profilectl.codes import InputRefused
@dataclass(frozen=True, slots=True)
class InputFile:
    name: str
    local: Path
    sha256: str
    format: str
def expand(patterns):
    return list(patterns)
def open_files(paths, *, format, encoding, spill, stdin=None):
    out=[]
    for p in paths:
        q=Path(p)
        if not q.exists(): raise InputRefused(f"{p}: no such file")
        f=format or {".csv":"csv",".jsonl":"jsonl",".json":"json",".parquet":"parquet"}[q.suffix]
        with q.open("rb") as h: s=hashlib.file_digest(h,"sha256").hexdigest()
        out.append(InputFile(p,q,s,f))
    return out
