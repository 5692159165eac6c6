"""Reads snapshots with the auditor's package `ccf` from PyPI, which nobody here wrote, and prints what they hold.

usage: python read_snapshot.py SNAPSHOT...

Exits 0 when every file is a committed snapshot whose receipt verifies, 1 otherwise.
"""

import os
import sys

from ccf.ledger import Snapshot, snapshot_index_from_filename


def main(paths):
    for path in paths:
        seqno, evidence = snapshot_index_from_filename(path)
        # The constructor verifies the receipt of a committed snapshot.
        with Snapshot(path) as snapshot:
            if not snapshot.is_committed():
                raise ValueError(f"{path} is not committed")
            domain = snapshot.get_public_domain()
            if domain.get_seqno() != seqno:
                raise ValueError(f"{path} is of seqno {domain.get_seqno()}")
            print(f"{os.path.basename(path)}: seqno {seqno}, evidence {evidence}")
            for name, rows in sorted(domain.get_tables().items()):
                print(f"    {name}: {len(rows)}")
            print(f"    private: {snapshot.get_private_domain_size()} bytes")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1:])
    except Exception as error:  # every refusal is the same answer to a script
        print(f"refused: {type(error).__name__}: {error}")
        sys.exit(1)
