// Four files with names of their own: the binary embeds them, and says by ETag when one changed.
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

const admin = process.env["WEIR_ADMIN_ADDR"] ?? "127.0.0.1:9900";

export default defineConfig({
  base: "/page/",
  build: {
    target: "es2022",
    // Nothing to preload: it is one module.
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        // Its licence goes where its code goes.
        postBanner: `/*! With uPlot, https://github.com/leeoniya/uPlot\n\n${readFileSync("node_modules/uplot/LICENSE", "utf8").trim()}\n*/`,
        entryFileNames: "app.js",
        chunkFileNames: "[name].js",
        assetFileNames: (asset) => (asset.names.some((name) => name.endsWith(".css")) ? "app.css" : "[name][extname]"),
      },
    },
  },
  // `npm run dev` against a running instance. Its guard wants to be asked by its own name.
  server: { proxy: { "/api": { target: `http://${admin}`, changeOrigin: true, headers: { origin: `http://${admin}` } } } },
});
