// A page left open grows old: after the minutes in its own attribute it says so and greys the estimate.
"use strict";
(function () {
  var strip = document.getElementById("open-since");
  if (!strip) return;
  var opened = Date.now();
  var limit = Number(strip.dataset.minutes);
  function look() {
    var minutes = Math.floor((Date.now() - opened) / 60000);
    if (minutes < limit) return;
    strip.querySelector("span").textContent = strip.dataset.text.replace("{minutes}", String(minutes));
    strip.hidden = false;
    document.body.classList.add("old");
  }
  window.setInterval(look, 15000);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pageshow", look);
})();
