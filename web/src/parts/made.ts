/** Who ran the model, by `Opened.by`. */
export const MADE = { page: "run by this page", server: "run by the server", file: "recorded" };
