export const STYLE = `
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f6f4, #121416); --card: light-dark(#fff, #1b1e21); --line: light-dark(#dcdfe1, #33383d);
  --ink: light-dark(#1d2125, #e7e9eb); --faint: light-dark(#5f676e, #9aa3ab); --news: light-dark(#1f5fbf, #82b1ff);
}
.good { --tone: light-dark(#19713d, #5cc98a); --wash: light-dark(#e5f3ea, #14301f); }
.warning { --tone: light-dark(#8a5a00, #e2b04a); --wash: light-dark(#fbf0d9, #352a10); }
.bad { --tone: light-dark(#b3261e, #ff8a80); --wash: light-dark(#fbe7e5, #3d1b19); }
* { box-sizing: border-box; margin: 0; padding: 0; }
body {
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  color: var(--ink); background: var(--page); max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 3rem;
}
main.stale { opacity: .5; }
header { border-left: .4rem solid var(--tone); padding-left: 1rem; }
h1 { font-size: clamp(1.4rem, 4.5vw, 2rem); line-height: 1.2; font-weight: 650; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2rem 0 .75rem; }
h3 { font-size: 1rem; }
ul, ol { list-style: none; }
a { color: var(--news); margin-right: .8rem; }
meter { width: 100%; }
.faint, dl, nav { color: var(--faint); font-size: .9rem; }
.why { color: light-dark(#8a5a00, #e2b04a); }
.notice { background: var(--wash); border-left: .25rem solid var(--tone); padding: .5rem .8rem; margin-top: 1rem; }
.cards { display: grid; gap: 1rem; align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-top: .2rem solid var(--tone); border-radius: .6rem; padding: 1rem; }
.badge { display: inline-block; color: var(--tone); background: var(--wash); border-radius: 1rem; padding: 0 .7rem; font-size: .9rem; }
dl { display: grid; grid-template-columns: 7rem 1fr; gap: .2rem .5rem; margin-top: .5rem; }
dd { color: var(--ink); }
#terms li { border-left: 2px solid var(--line); padding: 0 0 1.2rem 1.3rem; }
.phases { display: flex; height: .5rem; margin: .35rem 0; }
.phases span, .legend span { background: var(--phase); }
.legend span { color: #fff; margin-right: .5rem; padding: .1rem .5rem; border-radius: .3rem; font-size: .85rem; }
.detect { --phase: #5f676e; } .acquire { --phase: #2b6cc4; } .start { --phase: #8250c4; } .healthy { --phase: #127a6e; }
nav { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem; }
`
