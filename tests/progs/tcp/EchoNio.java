// SPDX-License-Identifier: MIT
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/** EchoNio PORT: sends back what comes, by one selector and direct buffers. */
public class EchoNio {
	private static void accept(Selector selector, ServerSocketChannel server) throws IOException {
		SocketChannel channel = server.accept();
		if (channel == null)
			return;
		channel.configureBlocking(false);
		channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(1 << 16));
	}

	/** What could not be written waits in the buffer, which is then ready to be read from. */
	private static void flush(SelectionKey key, ByteBuffer buffer) throws IOException {
		((SocketChannel) key.channel()).write(buffer);
		key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
	}

	private static void serve(SelectionKey key) throws IOException {
		ByteBuffer buffer = (ByteBuffer) key.attachment();
		if (key.isWritable()) {
			flush(key, buffer);
			return;
		}
		buffer.clear();
		if (((SocketChannel) key.channel()).read(buffer) < 0) {
			key.channel().close();
			return;
		}
		buffer.flip();
		flush(key, buffer);
	}

	public static void main(String[] args) throws IOException {
		Selector selector = Selector.open();
		ServerSocketChannel server = ServerSocketChannel.open();
		server.bind(new InetSocketAddress(Integer.parseInt(args[0])));
		server.configureBlocking(false);
		server.register(selector, SelectionKey.OP_ACCEPT);
		while (true) {
			selector.select();
			for (SelectionKey key : selector.selectedKeys()) {
				if (key.isAcceptable())
					accept(selector, server);
				else
					serve(key);
			}
			selector.selectedKeys().clear();
		}
	}
}
