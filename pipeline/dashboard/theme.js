// Before the first paint, so that a light page never begins dark.
{
  let theme = null;
  try { theme = localStorage.getItem("marketswarm.theme"); } catch { /* storage is not allowed: the default it is */ }
  document.documentElement.dataset.theme = theme === "light" ? "light" : "dark";
}
