"""The style sheet of report.html: light or dark as the reader's system is, from a telephone's width upwards."""

STYLE = """
:root { color-scheme: light dark; --page: #f5f6f8; --card: #ffffff; --text: #1b2330; --soft: #5c6675; --rule: #e2e6ec;
  --c0: #c8690a; --c1: #2563d9; --c2: #6f7887; --c3: #8a4fbf; --c4: #0f8a8a; --c5: #c03a8c; --c6: #7a6a12;
  --c7: #5a3d28; --good: #157a4a; --bad: #c22f3d; }
@media (prefers-color-scheme: dark) { :root { --page: #12151a; --card: #1b2027; --text: #e8ebf0; --soft: #9aa5b4;
  --rule: #2d343e; --c0: #f0a04e; --c1: #6aa5ff; --c2: #98a2b1; --c3: #c093ee; --c4: #4cc9c9; --c5: #f283c0;
  --c6: #d3c05a; --c7: #c9a58b; --good: #55c890; --bad: #ff7f88; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1140px; margin: 0 auto; padding: 36px 20px 56px; }
h1 { font-size: clamp(1.45rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
p { margin: 0 0 12px; } p:not(.card) { max-width: 92ch; }
.soft, .note { color: var(--soft); } .note { font-size: 0.88rem; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 18px;
  margin: 0 0 12px; }
.c0 { --own: var(--c0); } .c1 { --own: var(--c1); } .c2 { --own: var(--c2); } .c3 { --own: var(--c3); }
.c4 { --own: var(--c4); } .c5 { --own: var(--c5); } .c6 { --own: var(--c6); } .c7 { --own: var(--c7); }
.finding { font-size: 1.08rem; border-left: 4px solid var(--c1); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(185px, 1fr)); gap: 14px 22px; }
dl div { min-width: 0; } dt { color: var(--soft); font-size: 0.8rem; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; padding: 6px 18px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 8px; text-align: right; white-space: nowrap; border-top: 1px solid var(--rule); }
th:first-child { text-align: left; padding-left: 0; } td:last-child, th:last-child { padding-right: 0; }
thead th { border-top: 0; font-size: 0.86rem; vertical-align: bottom; } tbody th { font-weight: 500; }
tbody th.own { color: var(--own); font-weight: 600; min-width: 130px; white-space: normal; }
.difference th, .difference td { border-top: 0; padding-top: 0; font-size: 0.9rem; }
.mean th, .mean td { border-top: 1px solid var(--rule); padding-top: 9px; }
.difference th { color: var(--soft); padding-left: 12px; white-space: normal; }
.bar { display: block; height: 4px; border-radius: 2px; margin-top: 4px; background: var(--rule); min-width: 56px; }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--own); }
.up { color: var(--good); font-weight: 600; } .down { color: var(--bad); font-weight: 600; }
.charts > .card, .samples > .card { margin: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 16px; }
.charts > :only-child { max-width: 560px; }
.chart { display: flex; flex-direction: column; } .chart > svg { width: 100%; height: auto; margin-top: auto; }
figcaption { font-weight: 600; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 4px 0 8px; padding: 0;
  font-size: 0.82rem; color: var(--soft); }
.key { width: 22px; height: 8px; margin-right: 6px; vertical-align: middle; }
.grid { stroke: var(--rule); stroke-width: 1; } .tick { fill: var(--soft); font-size: 11.5px; }
.line { fill: none; stroke: var(--own); stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.dashed { stroke-dasharray: 2 5; } .dot { fill: var(--own); stroke: var(--card); stroke-width: 1.2; }
.samples { display: grid; gap: 12px; }
.sample { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 14px 26px;
  align-items: center; }
.twice { grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
.maps { display: flex; flex-wrap: wrap; gap: 12px 14px; } .maps figure { margin: 0; width: 92px; }
.maps figcaption { font-weight: 400; font-size: 0.78rem; line-height: 1.3; overflow-wrap: anywhere; display: grid; }
.maps b { color: var(--own, inherit); } .maps img { width: 84px; height: 84px; display: block; border-radius: 6px;
  image-rendering: pixelated; margin-bottom: 4px; }
.block { display: flex; gap: 10px; align-items: center; min-width: 0; }
.block img { width: 84px; height: 84px; flex: none; border-radius: 6px; image-rendering: pixelated;
  background: #808080; }
.says { min-width: 0; font-size: 0.88rem; line-height: 1.4; display: grid;
  grid-template-columns: auto 1fr; gap: 0 8px; }
.says b { grid-column: 1 / -1; color: var(--own, inherit); } .says span { overflow-wrap: anywhere; }
.says .kind { color: var(--soft); overflow-wrap: normal; } .says .truth { grid-column: 1 / -1; }
.right { color: var(--good); } .wrong { color: var(--bad); } .blue { color: var(--c1); }
footer { margin-top: 40px; color: var(--soft); font-size: 0.82rem; overflow-wrap: anywhere; }
@media (min-width: 1000px) { .charts:has(> :nth-child(4):last-child) { grid-template-columns: 1fr 1fr; }
  .charts:has(> :nth-child(4):last-child) .tick { font-size: 9px; } }
@media (max-width: 520px) { main { padding: 22px 12px 40px; } .card { padding: 14px; } .scroll { padding: 4px 14px; }
  th, td { padding: 8px 4px; font-size: 0.85rem; } .bar { min-width: 0; } tbody th, thead th { white-space: normal; }
  dl { grid-template-columns: 1fr 1fr; }
  tbody th.own { min-width: 84px; } .block img { width: 72px; height: 72px; } }
@media print { body { background: #ffffff; } .card { break-inside: avoid; } }
"""
