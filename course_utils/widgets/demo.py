"""All views on one page: what `course demo` shows.

A view is made when its tab is opened for the first time, so that the page is there at once and a
projector's laptop computes only what is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from course_utils.widgets._base import View
from course_utils.widgets._parts import custom

if TYPE_CHECKING:
    import ipywidgets

VIEWS: Mapping[str, tuple[str, str]] = {
    "player": ("Denoise", "DenoisingPlayer"),
    "forward": ("Add noise", "ForwardNoising"),
    "guidance": ("Guidance", "GuidanceExplorer"),
    "latents": ("Latents", "LatentStudio"),
    "prompts": ("Prompts", "PromptLab"),
    "attention": ("Attention", "CrossAttention"),
    "architecture": ("Architecture", "ArchitectureMap"),
}
"""Name of a tab to what stands on it and the class of its view."""
FIRST = "COURSE_DEMO_VIEW"  # environment variable: the tab that is open first


class Tabs(View):
    """A line of tabs above a place for one view.

    Args:
        first: a name in `VIEWS`.

    Attributes:
        stage: where the view of the chosen tab is shown.

    Raises:
        ValueError: there is no such view.
    """

    label = "Sculpting Noise: play with it"
    js = """
KINDS.tabs = (part, view) => {
  const el = h("div", { class: "sn-tabs", role: "tablist" });
  const tabs = () => [...el.children];
  el.addEventListener("keydown", (event) => {
    const all = tabs(), at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all[(to + all.length) % all.length].focus();
  });
  return {
    el,
    update(state, before) {
      el.setAttribute("aria-label", state.label);
      if (before.options === undefined) {
        el.replaceChildren(...state.options.map(([value, text]) => {
          const tab = h("button", { type: "button", role: "tab", class: "sn-tab", text });
          tab.dataset.kernel = "";
          tab.dataset.value = value;
          tab.addEventListener("click", () => part.set(value, true));
          return tab;
        }));
      }
      for (const tab of tabs()) {
        const here = tab.dataset.value === state.value;
        tab.setAttribute("aria-selected", String(here));
        tab.tabIndex = here ? 0 : -1;
      }
    },
  };
};
"""
    css = """
.sn-view:has(.sn-tabs) { border: 0; padding-bottom: 0; }
.sn-view:has(.sn-tabs) .sn-foot { min-height: 0; }
.sn-view:has(.sn-tabs) .sn-title { font-size: 22px; }
.sn-view .sn-tabs { display: flex; flex-wrap: wrap; gap: 4px 8px; }
.sn-view .sn-tab {
  font: inherit; padding: 6px 14px; min-height: 36px; cursor: pointer; color: var(--sn-ink);
  background: none; border: 0; border-bottom: 3px solid transparent;
}
.sn-view .sn-tab:hover { background: var(--sn-pale); }
.sn-view .sn-tab[aria-selected="true"] {
  border-bottom-color: var(--sn-accent); color: var(--sn-accent); font-weight: 600;
}
"""

    def __init__(self, first: str = "player") -> None:
        import ipywidgets

        if first not in VIEWS:
            raise ValueError(f"first is {first!r}; expected one of {', '.join(VIEWS)}")
        self.stage = ipywidgets.VBox()
        self._made: dict[str, View] = {}
        options = [[name, words] for name, (words, _) in VIEWS.items()]
        super().__init__(custom("tabs", "tab", "views", options=options, value=first))
        self.on("tab", self.choose)
        self.choose(first)

    def choose(self, name: str) -> None:
        """Show a view, made now if it was not shown before.

        Raises:
            KeyError: there is no such view.
        """
        from course_utils import widgets

        if name not in self._made:
            self._made[name] = getattr(widgets, VIEWS[name][1])()
        self["tab"] = name
        self.stage.children = (self._made[name],)

    def describe(self) -> str:
        """The present state in words."""
        return f"{self.label}. Open: {VIEWS[self['tab']][0]}."

    def close(self) -> None:
        """Close the views too."""
        made = getattr(self, "_made", {})  # none where the constructor refused its arguments
        for view in made.values():
            view.close()
        if made:
            made.clear()
            self.stage.close()
        super().close()


def page(first: str | None = None) -> ipywidgets.VBox:
    """The whole page.

    Args:
        first: a name in `VIEWS`; by default that of the environment variable COURSE_DEMO_VIEW, or
            the first.

    Raises:
        ValueError: there is no such view.
    """
    import ipywidgets

    tabs = Tabs(first or os.environ.get(FIRST) or next(iter(VIEWS)))
    whole = ipywidgets.VBox([tabs, tabs.stage])
    whole.add_class("sn-demo")
    return whole
