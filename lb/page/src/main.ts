// The status page: follows the stream and shows one view at a time.

import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/frame.css";
import "./style/views.css";
import { follow, onToken } from "./api";
import { askToken } from "./dialog";
import { start } from "./shell";
import { line, take } from "./store";
import { charts } from "./views/charts";
import { config } from "./views/config";
import { map } from "./views/map";
import { overview } from "./views/overview";
import { releases } from "./views/releases";
import { timeline } from "./views/timeline";

onToken(askToken);
start([overview, map, charts, timeline, releases, config]);
void follow({ message: take, state: line });
