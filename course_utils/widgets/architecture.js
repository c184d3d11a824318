// The lesson that builds a part: a link that opens its notebook, where the page can.

KINDS.lesson = (part) => {
  const el = h("div", { class: "am-lesson" });

  /** Where JupyterLab serves from, and the path of a file below it; null on other pages. */
  function place(path, home) {
    const config = document.getElementById("jupyter-config-data");
    if (!config || !path) return null;
    const { baseUrl = "/", serverRoot = "" } = JSON.parse(config.textContent);
    const root = serverRoot.replace(/\\/g, "/").replace(/^~/, home).replace(/\/+$/, "");
    if (!serverRoot || !path.startsWith(`${root}/`)) return null;
    return { baseUrl, path: path.slice(root.length + 1) };
  }
  return {
    el,
    update(state) {
      if (!state.number) return;
      const name = `lesson ${state.number}: ${state.title}`;
      const found = place(state.path, state.home);
      const minutes = state.minutes ? `, about ${state.minutes} minutes` : "";
      let link;
      if (found) {
        const href = `${found.baseUrl}lab/tree/${found.path.split("/").map(encodeURIComponent).join("/")}`;
        link = h("a", {
          class: "am-open", href, target: "_blank", text: `Open ${name}`,
          "data-commandlinker-command": "docmanager:open", // in this window, if it is JupyterLab
          "data-commandlinker-args": JSON.stringify({ path: found.path }),
        });
      } else {
        link = h("strong", { text: name[0].toUpperCase() + name.slice(1) });
      }
      const where = !found && state.path ? ` ${state.path.split("/").slice(-2).join("/")}` : "";
      el.replaceChildren(
        link, h("span", { text: state.question }),
        h("span", { class: "am-minutes", text: `builds this part${minutes}${where && `; it lies in${where}`}` }),
      );
    },
  };
};
