(()=>{const tip=document.getElementById('tip');let held=null;
const show=(el,x,y)=>{tip.textContent=el.dataset.tip;tip.classList.add('on');const r=tip.getBoundingClientRect();
tip.style.left=Math.max(8,Math.min(innerWidth-r.width-8,x+14))+'px';tip.style.top=(y+r.height+24>innerHeight?y-r.height-14:y+18)+'px'};
const hide=()=>{tip.classList.remove('on')};
addEventListener('pointermove',e=>{const el=e.target.closest&&e.target.closest('[data-tip]');el?show(el,e.clientX,e.clientY):hide()});
addEventListener('pointerdown',e=>{const el=e.target.closest('[data-tip]');el?show(el,e.clientX,e.clientY):hide()});
addEventListener('focusin',e=>{const el=e.target.closest('[data-tip]');if(el){const r=el.getBoundingClientRect();show(el,r.left,r.bottom-10)}});
addEventListener('focusout',hide);addEventListener('scroll',hide,{passive:true});
const pick=name=>{document.body.classList.toggle('picked',!!name);document.querySelectorAll('[data-node]').forEach(el=>el.classList.toggle('on',el.dataset.node===name))};
document.querySelectorAll('.node-legend button').forEach(b=>{
b.addEventListener('pointerenter',e=>{if(e.pointerType==='mouse'&&!held)pick(b.dataset.node)});
b.addEventListener('pointerleave',()=>{if(!held)pick(null)});
b.addEventListener('click',()=>{held=held===b.dataset.node?null:b.dataset.node;pick(held)})});
document.getElementById('theme').addEventListener('click',()=>{const root=document.documentElement;
const dark=root.dataset.theme?root.dataset.theme==='dark':matchMedia('(prefers-color-scheme:dark)').matches;root.dataset.theme=dark?'light':'dark'})})();
