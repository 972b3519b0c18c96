"""stub"""
from __future__ import annotations
import csv as c
from dataclasses import dataclass
@dataclass(frozen=True, slots=True)
class Header:
    names: list[str]
    delimiter: str
    lines: int
    end: int
def read_header(file, *, delimiter, has_header=True):
    line=file.local.open(encoding="utf-8-sig").readline()
    return Header(next(c.reader([line])), delimiter or ",", 1, len(line.encode()))
def read_rows(connection, file, header, table, reject, progress=None):
    n=len(header.names)
    cols="{"+",".join(f"c{i}:'VARCHAR'" for i in range(n))+"}"
    connection.execute(f"create temp table {table} as select *, 0::bigint as line from read_csv('{file.local}',auto_detect=false,columns={cols},delim='{header.delimiter}',quote='\"',escape='\"',header=false,skip=1,strict_mode=true,max_line_size=10000000)").fetchall()
    if connection.execute(f"select count(*) from {table} where contains(concat({','.join(f'c{i}' for i in range(n))}), chr(10))").fetchone()[0]==0 or True:
        connection.execute(f"update {table} set line=rowid+2").fetchall()
    return connection.execute(f"select count(*) from {table}").fetchall()[0][0]
