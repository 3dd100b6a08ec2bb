using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using Mono.Unix;
using Mono.Unix.Native;
using Newtonsoft.Json;

namespace CoreFn.Bootstrap
{
    /// <summary>
    /// A sandbox, in which this process waits until it is told which function to become. <c>stacks/README.md</c> has what it is
    /// told, and how.
    /// </summary>
    public static class Sandbox
    {
        const string Folder = "/function";

        /// <summary>Milliseconds between two attempts to connect, and how many there are in a row: for half a minute.</summary>
        const int Pause = 50, Attempts = 600;

        /// <summary>The status with which it ends if it can't become the function, as a shell's would.</summary>
        const int CannotExecute = 126;

        /// <summary>The number of an error (errno(3)) for what is no archive.</summary>
        const int InvalidArgument = 22;

        /// <summary>The bytes of an entry's head in the archive, and its kinds by the mode.</summary>
        const int Head = 110, Kind = 0xf000, Directory = 0x4000, Link = 0xa000;

        static readonly Encoding Utf8 = new UTF8Encoding(false);

        /// <summary>Returns when this process has become a function, whose files are in the current folder.</summary>
        public static void Wait(string path)
        {
            WarmUp();
            for (var attempt = 0; attempt < Attempts; attempt++)
            {
                try
                {
                    using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
                    {
                        socket.Connect(new UnixEndPoint(path));
                        attempt = 0;
                        Become(socket);
                        return;
                    }
                }
                catch (Exception failed) when (failed is SocketException || failed is IOException)
                {
                    // Whoever is there may go away, and another come.
                    Thread.Sleep(Pause);
                }
            }
            Environment.Exit(1);
        }

        /// <summary>Has compiled, before anybody waits for it, what the first request needs.</summary>
        static void WarmUp()
        {
            JsonConvert.DeserializeObject<Dictionary<string, string>>(JsonConvert.SerializeObject(new { a = "b" }));
        }

        static void Become(Socket socket)
        {
            var head = Exactly(socket, 8);
            var order = Exactly(socket, BitConverter.ToInt32(head, 0));
            var archive = Exactly(socket, BitConverter.ToInt32(head, 4));
            try
            {
                Unpack(archive);
            }
            catch (Exception failed)
            {
                var why = (failed as UnixIOException)?.NativeErrorCode ?? InvalidArgument;
                socket.Send(BitConverter.GetBytes(why));
                Environment.Exit(CannotExecute);
            }
            var skipped = BitConverter.ToInt32(order, 0);
            var texts = Utf8.GetString(order, 8, order.Length - 8).Split('\0');
            foreach (var variable in texts.Skip(skipped).Take(BitConverter.ToInt32(order, 4)))
            {
                var at = variable.IndexOf('=');
                Environment.SetEnvironmentVariable(variable.Substring(0, at), variable.Substring(at + 1));
            }
            System.IO.Directory.SetCurrentDirectory(Folder);
        }

        static byte[] Exactly(Socket socket, int length)
        {
            var bytes = new byte[length];
            for (var done = 0; done < length;)
            {
                var read = socket.Receive(bytes, done, length - done, SocketFlags.None);
                if (read == 0)
                {
                    throw new EndOfStreamException();
                }
                done += read;
            }
            return bytes;
        }

        /// <summary>Unpacks an archive (cpio(5), in the form "newc"), so that nobody writes to what was in it.</summary>
        static void Unpack(byte[] archive)
        {
            var folders = new Stack<string>();
            folders.Push(Folder);
            for (var at = 0; ;)
            {
                var start = at;
                Func<int, int> field = n => Convert.ToInt32(Utf8.GetString(archive, start + 6 + 8 * n, 8), 16);
                int mode = field(1), size = field(6), nameSize = field(11);
                var name = Utf8.GetString(archive, at + Head, nameSize - 1);
                if (name == "TRAILER!!!")
                {
                    break;
                }
                var begin = (at + Head + nameSize + 3) & ~3;
                at = (begin + size + 3) & ~3;
                var path = Folder + "/" + name;
                switch (mode & Kind)
                {
                    case Directory:
                        Check(Syscall.mkdir(path, NativeConvert.ToFilePermissions(0x1ed)));
                        folders.Push(path);
                        break;
                    case Link:
                        Check(Syscall.symlink(Utf8.GetString(archive, begin, size), path));
                        break;
                    default:
                        Write(path, (uint)mode & 0x16d, archive, begin, size);
                        break;
                }
            }
            foreach (var folder in folders)
            {
                Check(Syscall.chmod(folder, NativeConvert.ToFilePermissions(0x16d)));
            }
        }

        static void Write(string path, uint mode, byte[] bytes, int begin, int size)
        {
            var flags = OpenFlags.O_WRONLY | OpenFlags.O_CREAT | OpenFlags.O_EXCL | OpenFlags.O_CLOEXEC;
            var file = Syscall.open(path, flags, NativeConvert.ToFilePermissions(mode));
            Check(file);
            using (var stream = new UnixStream(file))
            {
                stream.Write(bytes, begin, size);
            }
        }

        static void Check(int result)
        {
            if (result < 0)
            {
                throw new UnixIOException(Stdlib.GetLastError());
            }
        }
    }
}
