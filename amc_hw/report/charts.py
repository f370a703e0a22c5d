"""The report's curves: the search over its episodes, the fine-tuning over its epochs."""

from __future__ import annotations

from amc_hw.policy import TOP1
from amc_hw.report.axes import linear_axis
from amc_hw.report.numbers import fixed, milliseconds, percent
from amc_hw.report.plots import Marks, Plot, Shade, line_path, mark, thinned
from amc_hw.report.run import Run
from amc_hw.report.table import titled
from amc_hw.runs.records import Episode


def best_so_far(episodes: list[Episode]) -> list[Episode]:
    """Return the episodes that had the highest reward when they ended."""
    improvements: list[Episode] = []
    for episode in episodes:
        if not improvements or episode.reward > improvements[-1].reward:
            improvements.append(episode)
    return improvements


def search_plots(run: Run) -> list[Plot]:
    """Return the plots of reward and of accuracy over the episodes; none where there are no episodes."""
    if not run.episodes:
        return []
    rewards = [episode.reward for episode in run.episodes]
    accuracies = [100 * episode.accuracy for episode in run.episodes]
    return [
        _episode_plot(run, "Reward", "higher is better", rewards, "Best reward so far"),
        _episode_plot(
            run, scored(run.metric), f"{run.metric} on the {run.split}, %", accuracies, "Of the best reward so far"
        ),
    ]


def _episode_plot(run: Run, title: str, unit: str, values: list[float], line: str) -> Plot:
    episodes = run.episodes
    x = linear_axis("episode", [episode.episode for episode in episodes], padding=0.02, whole=True)
    y = linear_axis(unit, values)
    value_of = {episode.episode: value for episode, value in zip(episodes, values, strict=True)}
    incumbents = best_so_far(episodes)
    corners = [(float(best.episode), value_of[best.episode]) for best in incumbents]
    corners.append((float(episodes[-1].episode), corners[-1][1]))
    drawn = thinned(len(episodes))
    dots = tuple(mark(x, y, (episodes[i].episode, values[i]), _episode_text(run, episodes[i])) for i in drawn)
    final = mark(x, y, corners[-2], _episode_text(run, incumbents[-1]))
    return Plot(
        title=title,
        summary=f"{title} over {len(episodes)} episodes; at the best reward it is {corners[-1][1]:.4g}.",
        x=x,
        y=y,
        shades=(Shade("best", line_path(x, y, corners, step=True), line),),
        series=(
            Marks("episode", dots, radius=2.4, legend="Episode"),
            Marks("chosen", (final,), radius=4.5),
        ),
        note="" if drawn.step == 1 else f"One episode in {drawn.step} is drawn.",
    )


def _episode_text(run: Run, episode: Episode) -> str:
    name = "accuracy" if run.metric == TOP1 else run.metric
    text = f"Episode {episode.episode}: reward {fixed(episode.reward, 4)}, {name} {percent(episode.accuracy)}"
    latency = episode.metrics.get("latency_ms")
    return text if latency is None else f"{text}, {milliseconds(latency)} predicted"


def scored(metric: str) -> str:
    """Return what a plot of scores is called."""
    return "Accuracy" if metric == TOP1 else titled(metric)


def finetune_plots(run: Run) -> list[Plot]:
    """Return the plots of accuracy and of training loss over the epochs, each where it was recorded."""
    epochs = run.finetune.epochs if run.finetune else []
    accuracy = [(e.epoch, 100 * e.search_accuracy) for e in epochs if e.search_accuracy is not None]
    loss = [(e.epoch, e.train_loss) for e in epochs if e.train_loss is not None]
    plots = []
    for title, unit, curve in (
        (scored(run.metric), f"{run.metric} on the {run.split}, %", accuracy),
        ("Training loss", "mean of the epoch", loss),
    ):
        if curve:
            x = linear_axis("epoch", [epoch for epoch, _ in curve], padding=0.04, whole=True)
            y = linear_axis(unit, [value for _, value in curve])
            texts = [f"Epoch {epoch}: {value:.4g}" for epoch, value in curve]
            dots = tuple(mark(x, y, point, text) for point, text in zip(curve, texts, strict=True))
            summary = f"{title} over {len(curve)} epochs, from {curve[0][1]:.4g} to {curve[-1][1]:.4g}."
            plots.append(
                Plot(
                    title,
                    summary,
                    x,
                    y,
                    (Shade("best", line_path(x, y, curve)),),
                    (Marks("point", dots),),
                    height=220,
                )
            )
    return plots
