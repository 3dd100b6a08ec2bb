namespace Accounts.Books
{
    internal class Tags
    {
        public string Next() => "first";
    }
}
