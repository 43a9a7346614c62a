/**
 * A relay in front of a broker that knows nothing of it: the broker's address becomes the relay's in every answer, so that
 * nothing goes around it. For one broker on 127.0.0.1. What passes is `tcp-proxy.ts`' business.
 */
import { freePort } from './kafka-layout.js';
import { TcpProxy } from './tcp-proxy.js';

export async function relayTo(brokers: readonly string[]): Promise<TcpProxy> {
  const proxy = await TcpProxy.listen(await freePort());
  const target = Number(brokers[0]!.split(':')[1]);
  proxy.target = target;
  const [theirs, ours] = [addressOnTheWire(target), addressOnTheWire(proxy.port)];
  proxy.onAnswer = (answer) => replaced(answer, theirs, ours);
  return proxy;
}

/** As brokers give addresses in metadata and of coordinators: the host with its length before it, then the port. */
function addressOnTheWire(port: number): Buffer {
  const host = Buffer.from('127.0.0.1');
  const bytes = Buffer.alloc(host.length + 4);
  host.copy(bytes);
  bytes.writeInt32BE(port, host.length);
  return bytes;
}

/** Every address of the broker becomes one of the relay: nothing goes around it. */
function replaced(answer: Buffer, from: Buffer, to: Buffer): Buffer {
  let at = answer.indexOf(from);
  if (at < 0) return answer;
  const changed = Buffer.from(answer);
  for (; at >= 0; at = answer.indexOf(from, at + from.length)) to.copy(changed, at);
  return changed;
}
