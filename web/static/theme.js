// @ts-check
// Loaded before the first paint, so that a chosen theme never flashes the other one.
{
  const theme = localStorage.getItem("takeover.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}
