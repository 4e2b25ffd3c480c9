"""Prints the matrix of clients, versions and features, and judges it:

    report.py FEATURES RESULTS EXPECTED [--update]

RESULTS has lines of outcome, client, version, feature, reason. Exits with 1 if a cell of EXPECTED did
not pass. With --update, EXPECTED becomes what passed.
"""

import sys
from pathlib import Path

COLUMNS = [(client, version) for client in ("paho", "mqttjs", "mosquitto") for version in ("3.1", "3.1.1", "5")]
SIGNS = {"pass": "yes", "fail": "FAIL", "none": "-"}


def read(features, results):
    """Every cell's outcome and reason, and the features' titles."""
    titles, cells = {}, {}
    for line in features.read_text(encoding="utf-8").splitlines():
        feature, versions, title = line.split("\t")
        titles[feature] = title
        for client, version in COLUMNS:
            if versions == "all" or version in versions.split(","):
                cells[client, version, feature] = ("fail", "the program did not come to it")
            else:
                cells[client, version, feature] = ("none", f"only in version {versions} of the protocol")
    for line in results.read_text(encoding="utf-8").splitlines():
        outcome, client, version, feature, reason = line.split("\t")
        if (client, version, feature) not in cells:
            sys.exit(f"unknown cell: {line}")
        cells[client, version, feature] = (outcome, reason)
    return titles, cells


def show(titles, cells):
    width = max(map(len, titles.values()))
    print(" " * width, *(f"{client:>9}" for client, _ in COLUMNS))
    print(" " * width, *(f"{version:>9}" for _, version in COLUMNS))
    for feature, title in titles.items():
        signs = (SIGNS[cells[client, version, feature][0]] for client, version in COLUMNS)
        print(title.ljust(width), *(f"{sign:>9}" for sign in signs))


def show_reasons(cells, wanted):
    """Why cells are empty, the same reason once."""
    grouped = {}
    for (client, version, feature), (outcome, reason) in cells.items():
        if outcome == wanted:
            grouped.setdefault((reason, feature), []).append(f"{client} {version}")
    merged = {}
    for (reason, feature), columns in grouped.items():
        merged.setdefault((reason, tuple(columns)), []).append(feature)
    for (reason, columns), features in merged.items():
        print(f"  {', '.join(features)} ({', '.join(columns)}): {reason}")


def show_cells(what, cells):
    for client, version in COLUMNS:
        features = [cell.split(" ", 2)[2] for cell in cells if cell.startswith(f"{client} {version} ")]
        if features:
            print(f"  {what}: {client} {version}: {', '.join(features)}")


def main():
    features, results, expected = (Path(path) for path in sys.argv[1:4])
    titles, cells = read(features, results)
    show(titles, cells)
    print("\nempty cells:")
    show_reasons(cells, "none")
    failed = sum(outcome == "fail" for outcome, _ in cells.values())
    if failed:
        print("\nfailed cells:")
        show_reasons(cells, "fail")

    passed = sorted(" ".join(cell) for cell, (outcome, _) in cells.items() if outcome == "pass")
    if "--update" in sys.argv:
        expected.write_text("".join(f"{cell}\n" for cell in passed), encoding="utf-8")
    committed = set(expected.read_text(encoding="utf-8").splitlines())
    lost, won = sorted(committed - set(passed)), sorted(set(passed) - committed)
    print(f"\n{len(passed)} cells pass, {failed} fail, {len(committed)} are committed in {expected.name}")
    show_cells("newly passing, to be committed with --update", won)
    show_cells("committed and not passing", lost)
    sys.exit(1 if lost else 0)


main()
