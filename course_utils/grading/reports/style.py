"""How pages look: one accent colour and greys, in light, in the dark and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #222222; --grey: #5f5f5f; --rule: #d5d2cf; --paper: #ffffff; --pale: #f6f4f2;
  --accent: #b4451f; --tint: #f6e3da; --good: #2f6b3a;
  --h1: #fbeee8; --h2: #f3cdbc; --h3: #e2a083; --h4: #c4603a; --h5: #8f3112;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #ece8e4; --grey: #aaa49e; --rule: #45413d; --paper: #191716; --pale: #23201e;
    --accent: #f09a77; --tint: #43291e; --good: #8fcf9b;
    --h1: #2f211b; --h2: #4f2e21; --h3: #7a4028; --h4: #b25a36; --h5: #f0a98b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: .1rem 0 .4rem; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 0; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
a { color: var(--accent); }
.kicker, .small, caption, .facts { color: var(--grey); font-size: .875rem; }
.kicker { margin: 0; letter-spacing: .02em; }
.total { font-size: 1.15rem; }
.card { border: 1px solid var(--rule); border-radius: 8px; padding: 1.1rem 1.25rem;
  margin: 1.6rem 0; }
.top { display: flex; gap: .5rem 1.5rem; justify-content: space-between; align-items: baseline;
  flex-wrap: wrap; }
.points { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.points small { font-weight: 400; font-size: .95rem; color: var(--grey); }
.chip { display: inline-block; border: 1px solid currentColor; border-radius: 99px;
  padding: 0 .6em; font-size: .8125rem; line-height: 1.6; white-space: nowrap; color: var(--grey); }
.chip.good { color: var(--good); }
.chip.bad { color: var(--accent); }
.part { border-top: 1px solid var(--rule); padding: .9rem 0 .2rem; margin-top: .9rem; }
.part h3 { margin: 0; }
.bar { display: block; width: 100%; height: 6px; margin: .45rem 0 .6rem; }
.bar .all { fill: var(--rule); } .bar .got { fill: var(--accent); }
.bands { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem; padding: 0;
  margin: .5rem 0; }
.bands li { border: 1px solid var(--rule); border-radius: 6px; padding: .1rem .6rem;
  font-size: .875rem; color: var(--grey); }
.bands li.here { border-color: var(--accent); background: var(--tint); color: var(--ink);
  font-weight: 600; }
.next, .notice { border-left: 4px solid var(--accent); background: var(--pale);
  padding: .5rem .9rem; margin: .7rem 0; border-radius: 0 6px 6px 0; }
.notice h2 { font-size: 1.1rem; }
.notes { margin: .3rem 0; padding-left: 1.2rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
.wide:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9375rem;
  overflow-wrap: break-word; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
thead th { font-weight: 600; border-bottom-color: var(--grey); vertical-align: bottom; }
tbody th { font-weight: 400; }
td.n, th.n { text-align: right; padding-left: .8rem; white-space: nowrap; }
.counts thead th:nth-child(n+2) { text-align: right; padding-left: .8rem; }
.mistakes td.n { vertical-align: middle; padding: .3rem .9rem; min-width: 3.4rem;
  text-align: center; border: 1px solid var(--paper); }
.mistakes thead th:nth-child(n+2) { text-align: center; padding: .3rem .5rem; max-width: 9rem; }
.mistakes tbody th { overflow-wrap: anywhere; max-width: 30rem; min-width: 14rem;
  padding: .4rem .8rem .4rem 0; }
.h0 { color: var(--grey); } .h1 { background: var(--h1); } .h2 { background: var(--h2); }
.h3 { background: var(--h3); }
.h4 { background: var(--h4); color: #ffffff; }
.h5 { background: var(--h5); color: #ffffff; }
.name { display: inline-block; max-width: 22rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; vertical-align: bottom; }
.numbers { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: .6rem 0; padding: 0;
  list-style: none; }
.numbers b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.numbers span { color: var(--grey); font-size: .875rem; }
svg.chart { display: block; width: 100%; max-width: 44rem; height: auto; margin: .6rem 0; }
svg.chart text { fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums; }
svg.chart text.quiet { fill: var(--grey); }
svg.chart rect { fill: var(--accent); }
svg.chart line { stroke: var(--grey); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .8rem; }
pre { background: var(--pale); border-radius: 6px; padding: .6rem 0; margin: .3rem 0;
  overflow-x: auto; font: .8125rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
pre span { display: block; padding: 0 .8rem; border-left: 4px solid transparent; min-height: 1.45em;
  white-space: pre-wrap; }
pre span.hit { border-left-color: var(--accent); background: var(--tint); }
details { margin: .6rem 0; }
summary { cursor: pointer; }
@media (prefers-color-scheme: dark) { .h4, .h5 { color: #191716; } }
@media print {
  :root { color-scheme: light; --ink: #000000; --grey: #444444; --rule: #bbbbbb; --paper: #ffffff;
    --pale: #ffffff; --accent: #8f3112; --tint: #ffffff; --good: #1d4f28; --h1: #fbeee8;
    --h2: #f3cdbc; --h3: #e2a083; --h4: #e2a083; --h5: #e2a083; }
  .h4, .h5 { color: #000000; font-weight: 700; }
  * { print-color-adjust: exact; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .part, .notice, .next, tr, svg { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide { overflow: visible; }
  a { color: inherit; text-decoration: none; }
  pre span { white-space: pre-wrap; }
}
"""
