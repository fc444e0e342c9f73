"""The tables of the losses, from the cells of ``features.py``. ``features_map.py`` has the map of the regimes."""

from pathlib import Path
from statistics import mean

from experiment import ROOT
from feature_runs import NAMES, best_rate, collect, describe, difference, linear, tuned, validated, values
from features_map import correlation_table, draw_map, fine_tuned, map_table, mapped
from grid import read_cells
from report import RESULTS, write_page

from mmasl.analysis.report import plus_minus, spread, table

FIXED = ('CE', 'focal', 'AF', 'margin', 'ASL 4/.05', 'ASL 2/.2', 'CE, m=.05', 'ASL 1/.05')
ADAPTIVE = ('adaptive', 'adaptive from 1', 'adaptive from 0', 'adaptive from 1 to 0')


def rows_table(runs: dict) -> str:
    """Return the table of the losses with a linear classifier and with a hidden layer."""
    lines = []
    for key in sorted(runs):
        chosen = tuned(runs[key])
        if 'adaptive' not in chosen:
            continue
        line = [f'{describe(key)} ({len(chosen["CE"])})']
        line += [plus_minus(spread(values(chosen[n], 'mAP'))) if n in chosen else '' for n in (*FIXED, *ADAPTIVE)]
        best = max((n for n in FIXED if n in chosen), key=lambda n: mean(values(chosen[n], 'mAP')))
        gain = difference(chosen['adaptive'], chosen[best])
        lines.append([*line, f'{plus_minus(spread(gain), 2, sign=True)} ({best})'])
    return table(['data, missing, classifier (seeds)', *FIXED, *ADAPTIVE, 'adaptive − best fixed'], lines)


def compared(runs: dict) -> dict[tuple, dict]:
    """Return what :func:`tuned` does for each regime in which the losses of the map were trained."""
    needed = {'CE', 'ASL 4/.05', 'ASL 2/.2', 'adaptive', 'CE, m=.05'}
    found = {key: tuned(runs[key]) for key in sorted(runs)}
    return {key: chosen for key, chosen in found.items() if needed <= chosen.keys()}


def summary_table(regimes: dict) -> str:
    """Return how far each loss is behind the best fixed loss, and how often it beats cross-entropy, by classifier."""
    levels = {
        key: {name: mean(values(found, 'mAP')) for name, found in chosen.items()} for key, chosen in regimes.items()
    }
    names = [name for name in (*FIXED, *ADAPTIVE) if all(name in found for found in levels.values())]
    head, lines = ['loss'], {name: [] for name in names}
    for kind in ('linear', 'hidden'):
        these = [found for key, found in levels.items() if linear(key) == (kind == 'linear')]
        if not these:
            continue
        head += [f'{kind}: mAP − best fixed, mean', 'worst', 'ahead of CE']
        for name in names:
            behind = [found[name] - max(found[fixed] for fixed in FIXED if fixed in found) for found in these]
            ahead = sum(found[name] > found['CE'] for found in these)
            lines[name] += [f'{mean(behind):+.2f}', f'{min(behind):+.1f}']
            lines[name] += ['' if name == 'CE' else f'{ahead} of {len(these)}']
    return table(head, [[name, *line] for name, line in lines.items()])


def seen_table(regimes: dict, runs: dict) -> str:
    """Return what validation labels that miss as many positives as the training labels do to a choice."""
    keys = [key for key in regimes if key[1] == '0.4']
    trials = {key: {name: runs[key]['val'][name] for name in regimes[key] if name in runs[key]['val']} for key in keys}
    lines = []
    for name in (*FIXED, *ADAPTIVE):
        lost, better = [], dict(mAP=0, mAP_seen=0)
        for key in keys:
            complete = validated(trials[key][name])
            chosen = best_rate(trials[key][name], complete, 'mAP_seen')
            lost.append(complete[chosen] - max(complete.values()))
            for measure in better:
                level, baseline = (max(validated(trials[key][loss], measure).values()) for loss in (name, 'CE'))
                better[measure] += level > baseline
        counts = ['', ''] if name == 'CE' else [f'{count} of {len(keys)}' for count in better.values()]
        lines.append([name, f'{mean(lost):+.1f}', f'{min(lost):+.1f}', *counts])
    head = ['loss', 'mAP lost by the choice of the rate, mean', 'worst']
    return table([*head, 'better than CE, complete labels', 'with labels that miss'], lines)


def paper_table(runs: dict) -> str:
    """Return the table of the settings of the paper, each with the better of its two rates."""
    lines = []
    for key in sorted(runs):
        losses = runs[key]['test']
        if '6/6/0' not in losses:
            continue
        for loss, by_rate in losses.items():
            if '/' not in loss and not loss.startswith('target') or loss.startswith('ASL'):
                continue
            usable = {rate: found for rate, found in by_rate.items() if rate in (1e-3, 3e-3)}
            common = set.intersection(*(set(found) for found in usable.values()))
            usable = {rate: {seed: found[seed] for seed in common} for rate, found in usable.items()}
            rate = max(usable, key=lambda rate: mean(values(usable[rate], 'mAP')))
            found = usable[rate]
            last = [run['gamma_neg'] for run in found.values() if 'gamma_neg' in run]  # the first cells lack it
            more = f'{mean(last):.1f}' if loss.startswith('target') and last else ''
            lines.append(
                [loss, f'{plus_minus(spread(values(found, "mAP")), 2)} ({len(found)})', f'{rate:g}']
                + [plus_minus(spread(values(found, 'delta_p')), 2), more]
            )
    return table(['γ₊/γ₋/m', 'mAP (seeds)', 'rate', 'Δp, held out', 'γ₋ at the end'], lines)


def steps_table(runs: dict) -> str:
    """Return the table of λ for several lengths and batch sizes, on validation splits."""
    lines, head = [], None
    for key in sorted(runs, key=lambda key: (key[0], int(key[6]) if key[6] != 'None' else 0, int(key[7]))):
        losses = runs[key]['val']
        if 'λ=400/steps' not in losses:
            continue
        found = {loss: next(iter(by_rate.values())) for loss, by_rate in losses.items()}
        found = {loss: runs_ for loss, runs_ in found.items() if loss.startswith('λ') or loss in FIXED}
        head = head or list(found)
        line = [f'{NAMES[key[0]]}, {100 * float(key[1]):g} %, {key[6]} steps of {key[7]} ({len(found["CE"])})']
        lines.append(line + [f'{mean(values(found[name], "mAP")):.1f}' for name in head])
    return table(['data, missing, training (seeds)', *(head or [])], lines)


def design_table(runs: dict) -> str:
    """Return what each change of a setting of adaptive asymmetry is worth against the defaults, on validation splits.

    Every loss has its best rate. The last column is the worst difference to the better one of cross-entropy and ASL.
    """
    columns, names = {}, []
    others = {*FIXED, *ADAPTIVE} - {'CE', 'ASL 2/.2', 'adaptive'}
    for key in sorted(runs, key=lambda key: (key[2], key[0], key[1])):
        splits = runs[key]
        if 'by medians' not in splits['val']:
            continue
        rates = splits['val']['by medians']
        these = {
            name: {rate: by_rate[rate] for rate in rates if rate in by_rate}
            for name, by_rate in splits['val'].items()
            if name not in others
        }
        best = tuned(dict(test=these, val=these))
        best = {name: {seed: found[seed] for seed in best['by medians']} for name, found in best.items()}
        columns[f'{describe(key)} ({len(best["CE"])})'] = best
        names = names or [name for name in best if name != 'adaptive']
    lines = []
    for name in ['adaptive', *names]:
        line, margins = [name], []
        for best in columns.values():
            level = mean(values(best[name], 'mAP'))
            gain = plus_minus(spread(difference(best[name], best['adaptive'])), sign=True)
            line.append(f'{level:.1f}' if name == 'adaptive' else gain)
            margins.append(level - max(mean(values(best[fixed], 'mAP')) for fixed in ('CE', 'ASL 2/.2')))
        lines.append([*line, f'{min(margins, default=0):+.1f}'])
    return table(['setting', *columns, 'worst'], lines)


def write_report(cells: list[dict], out: Path) -> None:
    """Write the tables into choose.md and adaptive.md, and draw the map beside them."""
    runs = collect(cells)
    regimes = compared(runs)
    points = mapped(regimes, runs)
    networks = fine_tuned(read_cells(ROOT / 'work_dirs' / 'studies' / 'photos', RESULTS / 'photos.jsonl'))
    draw_map(points, networks, out / 'choose' / 'map')
    choose = dict(rows=rows_table(runs), correlations=correlation_table(points), map=map_table(points))
    choose |= dict(seen=seen_table(regimes, runs), paper=paper_table(runs))
    adaptive = dict(summary=summary_table(regimes), length=steps_table(runs), design=design_table(runs))
    for page, parts in (('choose.md', choose), ('adaptive.md', adaptive)):
        write_page(out / page, parts, 'tools/studies/features.py report')
