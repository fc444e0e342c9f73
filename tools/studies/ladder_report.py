"""The tables and the figure of a ladder, from its finished cells."""

import argparse
from collections import defaultdict
from statistics import mean

import report
from grid import gather
from ladder_cells import Study

from mmasl.analysis.report import plus_minus, pyplot, table
from mmasl.errors import UserError

SYMBOLS = dict(
    gamma='γ',
    beta='β',
    alpha='α',
    gamma_pos='γ₊',
    gamma_neg='γ₋',
    clip='m',
    label_smoothing='ε',
    delta_p_target='Δp target',
    step_size='λ',
    pt_pos='p_t⁺',
    pt_neg='p_t⁻',
    delta_p='Δp',
)


def by_row(study: Study, cells: list[dict]) -> dict[tuple, dict[int, dict]]:
    """Group cells of the grid by regime, share of missing items and loss, in the order of the tables, and by seed."""
    groups = report.by_seed(cells, lambda spec: (spec['regime'], spec['missing'], spec['loss']))
    order = {name: number for names in (study.regimes, study.losses) for number, name in enumerate(names)}
    return dict(sorted(groups.items(), key=lambda item: (order[item[0][0]], item[0][1], order[item[0][2]])))


def markdown(study: Study, rows: dict[tuple, dict[int, dict]], trials: list[dict]) -> str:
    """Return the tables of the page.

    Args:
        study: What is compared.
        rows: The result of :func:`by_row`.
        trials: The cells of the tuning stages.
    """
    parts = []
    for regime, title in study.regimes.items():
        mine = {key[1:]: group for key, group in rows.items() if key[0] == regime}
        if not mine:
            continue
        parts.append(f'### {title}')
        rates = sorted({missing for missing, _ in mine})
        losses = [loss for loss in study.losses if any(loss == other for _, other in mine)]
        head, body = [f'{study.measure}, %'], [[study.losses[loss]] for loss in losses]
        for rate in rates:
            head += [f'{100 * rate:.0f} % missing', f'− {study.baselines[regime].upper()} (better in)']
            baseline = mine.get((rate, study.baselines[regime]), {})
            for line, loss in zip(body, losses, strict=True):
                group = mine.get((rate, loss))
                line.append(group and f'{plus_minus(report.values(group, study.measure))} ({len(group)})' or '')
                line.append(group and report.difference_text(group, baseline, study.measure) or '')
        parts.append(table(head, body))
        shown = [SYMBOLS.get(key, key) for key in study.shown]
        for rate in rates:
            body = [
                [study.losses[loss], *details(study, group)] for loss in losses if (group := mine.get((rate, loss)))
            ]
            parts.append(table([f'{100 * rate:.0f} % missing', *shown, 'max lr', 'epochs', 's a run'], body))
    if trials:
        parts += ['### Trials on the validation split', *trial_tables(study, trials)]
    return '\n\n'.join(parts)


def details(study: Study, group: dict[int, dict]) -> list[str]:
    """Return further measures of a row, its settings, and the seconds of a run. A quality loss has no Δp."""
    spec = next(iter(group.values()))['spec']
    seconds = round(mean(cell['seconds'] for cell in group.values()), 1)
    measured = next(iter(group.values()))['result']
    shown = [
        plus_minus(report.values(group, key), digits) if key in measured else '' for key, digits in study.shown.items()
    ]
    return [*shown, f'{spec["lr"]:g}', str(spec['epochs']), f'{seconds:.0f}']


def trial_tables(study: Study, trials: list[dict]) -> list[str]:
    """Return a table of the trials for each regime and share of missing items."""
    groups = defaultdict(list)
    for trial in trials:
        groups[list(study.regimes).index(trial['spec']['regime']), trial['spec']['missing']].append(trial)
    return [
        _trial_table(study, f'{list(study.regimes)[regime]}, {100 * missing:.0f} % missing', group)
        for (regime, missing), group in sorted(groups.items())
    ]


def _trial_table(study: Study, title: str, trials: list[dict]) -> str:
    """Rows are losses with their parameters, and columns are lengths and learning rates."""
    criteria = defaultdict(dict)
    for trial in trials:
        spec = trial['spec']
        label = study.losses[spec['loss']]
        if spec['loss'] not in study.plain:
            own = [f'{SYMBOLS[key]}={value:g}' for key, value in spec['criterion'].items() if key in SYMBOLS]
            label += f': {", ".join(own)}'
        value = f'{trial["result"][study.measure]:.1f}'
        criteria[list(study.losses).index(spec['loss']), label][spec['epochs'], spec['lr']] = value
    columns = sorted({column for found in criteria.values() for column in found})
    head = [f'{title}: validation {study.measure}, %', *(f'{epochs} epochs, lr {lr:g}' for epochs, lr in columns)]
    body = [[label, *(found.get(c, '') for c in columns)] for (_, label), found in sorted(criteria.items())]
    return table(head, body)


def draw(study: Study, rows: dict[tuple, dict[int, dict]]):
    """Draw the differences to the baseline, paired by seed, as bars with standard deviations; a panel is a regime."""
    regimes = [regime for regime in study.regimes if any(regime == key[0] for key in rows)]
    rates = {regime: sorted({key[1] for key in rows if key[0] == regime}) for regime in regimes}
    counts = [len(shares) for shares in rates.values()]
    figure, panels = pyplot().subplots(
        1, len(regimes), figsize=(max(5.6, 1 + 2.6 * sum(counts)), 3.6), sharey=True, squeeze=False, width_ratios=counts
    )
    losses = [loss for loss in study.losses if any(loss == key[2] for key in rows)]
    for panel, regime in zip(panels[0], regimes, strict=True):
        baseline = study.baselines[regime]
        mine = {key[1:]: group for key, group in rows.items() if key[0] == regime}
        here = [loss for loss in losses if loss != baseline and any(loss == other for _, other in mine)]
        width = 0.84 / max(1, len(here))
        for number, loss in enumerate(here):
            pairs = [(mine.get((share, loss), {}), mine.get((share, baseline), {})) for share in rates[regime]]
            differences = (report.difference(*pair, study.measure) for pair in pairs)
            paired = {x: found for x, found in enumerate(differences) if found}
            panel.bar(
                [x + (number - (len(here) - 1) / 2) * width for x in paired],
                [found['mean'] for found in paired.values()],
                0.9 * width,
                yerr=[found['std'] or 0 for found in paired.values()],
                capsize=2,
                color=f'C{losses.index(loss)}',
                label=study.losses[loss],
            )
        ticks = [f'{100 * share:.0f} %' for share in rates[regime]]
        panel.set_xticks(range(len(ticks)), ticks)
        panel.set_title(f'{study.regimes[regime]}\nminus {study.losses[baseline]}', fontsize=10)
        panel.set_xlabel(f'{study.item} missing in the training data')
        panel.axhline(0, color='black', linewidth=0.8)
        panel.grid(axis='y', alpha=0.3)
    panels[0][0].set_ylabel(f'difference in {study.measure}, points')
    legend = {text: bar for panel in panels[0] for bar, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc='outside upper center', ncols=3, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.84))
    return figure


def write_report(study: Study, args: argparse.Namespace) -> None:
    """Gather the cells, write the tables into the page, and draw the figure.

    Raises:
        UserError: If no cell of the grid is finished.
    """
    cells = gather(args.cells, args.results)
    trials = [cell for cell in cells if cell['spec']['split'] == 'val']
    rows = by_row(study, [cell for cell in cells if cell['spec']['split'] == 'test'])
    if not rows:
        raise UserError(f'expected finished cells in {args.cells} or {args.results}, found none: run the grid first')
    text = markdown(study, rows, trials)
    report.write_page(args.page, dict(ladder=text), f'tools/studies/ladder.py {study.name} report')
    report.write_figure(draw(study, rows), args.images, study.name, args.page)
    print(text)
