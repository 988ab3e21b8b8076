export const STYLE = `
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f6f4, #121416); --line: light-dark(#dcdfe1, #33383d);
  --ink: light-dark(#1d2125, #e7e9eb); --faint: light-dark(#5f676e, #9aa3ab); --news: light-dark(#1f5fbf, #82b1ff);
}
.good { --tone: light-dark(#19713d, #5cc98a); --wash: light-dark(#e5f3ea, #14301f); }
.warning { --tone: light-dark(#8a5a00, #e2b04a); --wash: light-dark(#fbf0d9, #352a10); }
.bad { --tone: light-dark(#b3261e, #ff8a80); --wash: light-dark(#fbe7e5, #3d1b19); }
* { box-sizing: border-box; margin: 0; padding: 0; }
body {
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  color: var(--ink); background: var(--page); max-width: 80rem; margin: 0 auto; padding: 1.5rem 1rem 3rem;
}
main.stale { opacity: .5; }
header { border-left: .4rem solid var(--tone); padding-left: 1rem; }
h1 { font-size: clamp(1.3rem, 4vw, 1.8rem); line-height: 1.3; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2rem 0 .75rem; }
a { color: var(--news); margin-right: .8rem; }
.faint, th, nav { color: var(--faint); font-size: .9rem; }
.notice { background: var(--wash); border-left: .25rem solid var(--tone); padding: .5rem .8rem; margin-top: 1rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem .5rem; border-bottom: 1px solid var(--line); }
td:last-child { min-width: 12rem; }
td:nth-child(2) { color: var(--tone); font-weight: 600; }
nav { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem; }
`
