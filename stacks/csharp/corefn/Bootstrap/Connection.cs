using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace CoreFn.Bootstrap
{
    /// <summary>What is asked for.</summary>
    public sealed class Request
    {
        public readonly string Method;
        public readonly string Target;
        public readonly byte[] Body;

        public Request(string method, string target, byte[] body)
        {
            Method = method;
            Target = target;
            Body = body;
        }
    }

    /// <summary>What is answered; without a type, the body is empty.</summary>
    public sealed class Answer
    {
        public readonly int Status;
        public readonly string Type;
        public readonly string Body;

        public Answer(int status, string type, string body)
        {
            Status = status;
            Type = type;
            Body = body;
        }
    }

    /// <summary>A connection, with one request after the other.</summary>
    public sealed class Connection
    {
        /// <summary>The most bytes of a request's head, more than nginx sends with what it accepts by default.</summary>
        const int MaxHead = 128 << 10;

        /// <summary>Room for bytes that are announced, before any has come.</summary>
        const int FirstRoom = 64 << 10;

        /// <summary>Longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.</summary>
        static readonly TimeSpan Idle = TimeSpan.FromSeconds(75);

        static readonly Encoding Latin1 = Encoding.GetEncoding("iso-8859-1");
        static readonly Encoding Utf8 = new UTF8Encoding(false);

        readonly NetworkStream stream;
        readonly Func<Request, Task<Answer>> handler;
        readonly byte[] buffer = new byte[16 << 10];
        int begin, end;
        // Guarded by the object's lock.
        bool busy, ending;

        public Connection(Socket socket, Func<Request, Task<Answer>> handler)
        {
            this.handler = handler;
            socket.NoDelay = true;
            stream = new NetworkStream(socket, true);
        }

        /// <summary>Answers requests until either side has had enough.</summary>
        /// <exception cref="IOException">The connection fails, or what comes is no HTTP.</exception>
        public async Task Run()
        {
            while (true)
            {
                bool isThere;
                using (new Timer(_ => CloseIfIdle(), null, Idle, Timeout.InfiniteTimeSpan))
                {
                    isThere = begin < end || await Fill();
                }
                if (!isThere || !Take())
                {
                    return;
                }
                if (!await Exchange())
                {
                    return;
                }
            }
        }

        /// <summary>Closes the connection once what is under way is answered, or at once.</summary>
        public void End()
        {
            lock (this)
            {
                ending = true;
            }
            CloseIfIdle();
        }

        public void Close() => stream.Close();

        void CloseIfIdle()
        {
            lock (this)
            {
                if (!busy)
                {
                    Close();
                }
            }
        }

        bool Take()
        {
            lock (this)
            {
                busy = !ending;
                return busy;
            }
        }

        /// <summary>Answers one request, and returns whether another may come.</summary>
        async Task<bool> Exchange()
        {
            var left = MaxHead;
            var line = (await Line(left)).Split(' ');
            if (line.Length != 3)
            {
                throw new IOException("no request");
            }
            var headers = await Headers(left);
            var keep = line[2] == "HTTP/1.1" && !Value(headers, "connection").Equals("close", StringComparison.OrdinalIgnoreCase);
            if (Value(headers, "expect").Equals("100-continue", StringComparison.OrdinalIgnoreCase))
            {
                await Write("HTTP/1.1 100 Continue\r\n\r\n");
            }
            var answer = await handler(new Request(line[0], line[1], await Body(headers)));
            lock (this)
            {
                keep = keep && !ending;
            }
            await Send(answer, line[0] == "HEAD", keep);
            lock (this)
            {
                busy = false;
                return keep && !ending;
            }
        }

        async Task Send(Answer answer, bool isHead, bool keep)
        {
            var body = Utf8.GetBytes(answer.Body);
            var head = new StringBuilder($"HTTP/1.1 {answer.Status} {Reason(answer.Status)}\r\n");
            if (answer.Type != null)
            {
                head.Append($"Content-Type: {answer.Type}\r\nContent-Length: {body.Length}\r\n");
            }
            head.Append(keep ? "\r\n" : "Connection: close\r\n\r\n");
            var bytes = Latin1.GetBytes(head.ToString());
            // One piece, so that it is one packet where it fits into one.
            await Write(isHead ? bytes : bytes.Concat(body).ToArray());
        }

        static string Reason(int status)
        {
            switch (status)
            {
                case 200: return "OK";
                case 204: return "No Content";
                case 400: return "Bad Request";
                case 404: return "Not Found";
                default: return "Internal Server Error";
            }
        }

        Task Write(string text) => Write(Latin1.GetBytes(text));

        Task Write(byte[] bytes) => stream.WriteAsync(bytes, 0, bytes.Length);

        async Task<IDictionary<string, string>> Headers(int left)
        {
            var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            while (true)
            {
                var line = await Line(left);
                if (line == "")
                {
                    return headers;
                }
                left -= line.Length;
                var colon = line.IndexOf(':');
                if (colon < 1)
                {
                    throw new IOException("no header");
                }
                headers[line.Substring(0, colon)] = line.Substring(colon + 1).Trim();
            }
        }

        static string Value(IDictionary<string, string> headers, string name)
        {
            string value;
            return headers.TryGetValue(name, out value) ? value : "";
        }

        async Task<byte[]> Body(IDictionary<string, string> headers)
        {
            if (Value(headers, "transfer-encoding").Equals("chunked", StringComparison.OrdinalIgnoreCase))
            {
                return await Chunks();
            }
            var length = Value(headers, "content-length");
            return length == "" ? new byte[0] : await Bytes(Number(length, NumberStyles.None));
        }

        async Task<byte[]> Chunks()
        {
            var body = new MemoryStream();
            while (true)
            {
                var length = Number((await Line(MaxHead)).Split(';')[0].Trim(), NumberStyles.AllowHexSpecifier);
                if (length == 0)
                {
                    await Headers(MaxHead);
                    return body.ToArray();
                }
                var bytes = await Bytes(length);
                body.Write(bytes, 0, bytes.Length);
                await Line(2);
            }
        }

        static int Number(string text, NumberStyles style)
        {
            int number;
            if (!int.TryParse(text, style, CultureInfo.InvariantCulture, out number) || number < 0)
            {
                throw new IOException("no length");
            }
            return number;
        }

        /// <summary>A line without its end.</summary>
        async Task<string> Line(int most)
        {
            var line = new StringBuilder();
            while (true)
            {
                if (begin == end && !await Fill())
                {
                    throw new EndOfStreamException();
                }
                var newline = Array.IndexOf(buffer, (byte)'\n', begin, end - begin);
                var until = newline < 0 ? end : newline;
                line.Append(Latin1.GetString(buffer, begin, until - begin));
                begin = newline < 0 ? end : newline + 1;
                if (line.Length > most)
                {
                    throw new IOException("too long");
                }
                if (newline >= 0)
                {
                    return line.ToString().TrimEnd('\r');
                }
            }
        }

        async Task<byte[]> Bytes(int length)
        {
            var done = Math.Min(length, end - begin);
            // What is announced need not come: so there is never room for much more than what has.
            var bytes = new byte[Math.Min(length, Math.Max(done, FirstRoom))];
            Buffer.BlockCopy(buffer, begin, bytes, 0, done);
            begin += done;
            while (done < length)
            {
                if (done == bytes.Length)
                {
                    Array.Resize(ref bytes, (int)Math.Min(length, 2L * done));
                }
                var read = await stream.ReadAsync(bytes, done, bytes.Length - done);
                if (read == 0)
                {
                    throw new EndOfStreamException();
                }
                done += read;
            }
            return bytes;
        }

        /// <summary>Reads more into the buffer, which must be empty; false at the end.</summary>
        async Task<bool> Fill()
        {
            begin = 0;
            end = 0;
            end = await stream.ReadAsync(buffer, 0, buffer.Length);
            return end > 0;
        }
    }
}
