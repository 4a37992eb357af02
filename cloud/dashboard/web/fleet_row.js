// A device's row in the fleet's table. All texts are interpolated, so they stay text; ages tick by the hub's clock.
import { bytes, duration, hubNow, instant, number, onTick } from "covey";

const STATE_MARKS = { online: "●", stale: "◐", offline: "○", lost: "✕" };
const FLASH_MS = 2000;

export default {
  props: { row: Object },
  data: () => ({ now: hubNow(), isNews: false }),
  mounted() {
    this.stop = onTick(() => (this.now = hubNow()));
  },
  unmounted() {
    this.stop();
    clearTimeout(this.flash);
  },
  watch: {
    row(after, before) {
      if (after.presence === before.presence && after.status === before.status) return;
      this.isNews = true;
      clearTimeout(this.flash);
      this.flash = setTimeout(() => (this.isNews = false), FLASH_MS);
    },
  },
  methods: {
    bytes,
    instant,
    number,
    ago(at) {
      return at === null ? "never" : `${duration(this.now - at)} ago`;
    },
    when(at) {
      return at === null ? undefined : instant(at);
    },
    since(at) {
      return at === null ? "" : duration(this.now - at);
    },
  },
  computed: {
    mark() {
      return STATE_MARKS[this.row.presence] ?? "?";
    },
  },
  template: `
<tr :class="{ news: isNews, halted: row.status !== 'active' }" :data-device="row.principal">
  <th scope="row">
    <a :href="row.href"><bdi>{{ row.name }}</bdi></a>
    <span class="where" v-if="row.where"><bdi>{{ row.where }}</bdi></span>
    <span class="badge bad" v-if="row.status !== 'active'"><bdi>{{ row.status }}{{ row.reason ? ': ' + row.reason : '' }}</bdi></span>
    <span class="badge bad" v-for="lane in row.forked" :key="lane">{{ lane }} forked</span>
  </th>
  <td data-label="Presence"><span :class="['state', 'state-' + row.presence]"><i aria-hidden="true">{{ mark }}</i>{{ row.presence }}</span></td>
  <td data-label="Broker session" :title="when(row.broker_at)"><span :class="{ quiet: row.broker === 'never' }">{{ row.broker_word }}<small v-if="row.broker !== 'never'">{{ since(row.broker_at) }}</small></span></td>
  <td data-label="Last hello" :title="when(row.hello_at)"><span :class="{ quiet: row.hello_at === null }">{{ ago(row.hello_at) }}</span></td>
  <td data-label="Last ack" :title="when(row.ack_at)"><span :class="{ quiet: row.ack_at === null }">{{ ago(row.ack_at) }}</span></td>
  <td data-label="Last record" :title="when(row.record_at)"><span :class="{ quiet: row.record_at === null }">{{ ago(row.record_at) }}</span></td>
  <td data-label="Journal lag"><span class="quiet" v-if="!row.lag_records">none</span><span v-else>{{ number(row.lag_records) }} records<small v-if="row.lag_since !== null">{{ since(row.lag_since) }} behind</small></span></td>
  <td data-label="Waiting"><span :class="{ quiet: !row.waiting_bytes }">{{ bytes(row.waiting_bytes) }}</span></td>
  <td data-label="Settings"><span :class="'settings-' + row.settings">{{ row.settings_word }}</span></td>
  <td data-label="Conditions"><span class="quiet" v-if="!row.conditions.length">none</span><span v-else><span class="badge warn" v-for="[code, at] in row.conditions" :key="code" :title="when(at)"><bdi>{{ code }}</bdi></span></span></td>
</tr>`,
};
